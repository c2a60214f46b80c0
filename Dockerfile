# Streamgauge in one image: `docker run … streamgauge api | worker | scheduler`. Settings are environment variables.

FROM python:3.11.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
# Exact versions with their hashes; this layer stays as long as they do.
COPY requirements.lock /src/
RUN /opt/venv/bin/pip install --require-hashes --only-binary :all: -r /src/requirements.lock
COPY streamgauge.py /opt/streamgauge/
COPY aggregators /opt/streamgauge/aggregators
COPY api /opt/streamgauge/api
COPY front /opt/streamgauge/front
COPY ingest /opt/streamgauge/ingest
COPY jobs /opt/streamgauge/jobs
COPY storage /opt/streamgauge/storage
COPY deploy/streamgauge.sh /opt/venv/bin/streamgauge
RUN chmod 755 /opt/venv/bin/streamgauge && /opt/venv/bin/python -m compileall -q /opt/streamgauge

FROM python:3.11.13-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin streamgauge \
    && install -d -o streamgauge -g streamgauge -m 0700 /data /archive
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/streamgauge /opt/streamgauge
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/streamgauge \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STREAMGAUGE_DATA=/data \
    STREAMGAUGE_HOST=0.0.0.0 \
    STREAMGAUGE_LOG_FORMAT=json
USER 10001
# credentials.json of the first start; with DATABASE_URL there is no database in it.
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["streamgauge", "health"]
ENTRYPOINT ["streamgauge"]
CMD ["api"]
