"""The service's own figures for Prometheus: requests, the pipeline, streams."""

from __future__ import annotations

from typing import Literal

from aiohttp import web
from aiohttp.web_urldispatcher import AbstractResource
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from ingest.log import Outcome

Together = Literal["livesum", "livemax", "livemostrecent"]
"""What the gauges of several processes are together."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Others are counted together: anybody could invent any number of them."""


class Observation:
    """Counts what happens. It is the pipeline's telemetry (ingest.telemetry.Telemetry) and the HTTP server's.

    `shared`: several processes count together (prometheus-client's multiprocess mode), and each tells what all of them counted.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self.registry = CollectorRegistry()
        self.shared = shared
        self.accepted = self._counter("events_accepted", "Events accepted, counted now or before.", ["kind"])
        self.rejected = self._counter("events_rejected", "Events refused with a reason.", ["stage"])
        self.counted = self._counter("events_counted", "Events written and rolled up.")
        self.known = self._counter("events_known", "Accepted events that had been counted before and were left out.")
        self.commits = self._counter("sink_commits", "Transactions of the sink.")
        self.failures = self._counter(
            "sink_failures", "Groups that could not be written; their senders were told.", ["error"]
        )
        self.commit_seconds = Histogram(
            "streamgauge_sink_commit_seconds", "Time of a sink's transaction.", registry=self.registry, buckets=_SECONDS
        )
        self.queue = self._gauge("queue_events", "Events that wait for the sink: the lag of the direct log.")
        self.requests = Histogram(
            "streamgauge_http_request_seconds",
            "Time of a request.",
            ["method", "route", "status"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        # To find a series by its labels costs more than to add to it.
        self._series: dict[tuple[str, AbstractResource | None, int], Histogram] = {}
        self.streams = self._gauge("streams", "Open streams.", ["mode"])
        self.resets = self._counter("stream_resets", "Streams told that they missed something.", ["reason"])
        self.feed_position = self._gauge(
            "feed_position", "Position of the newest commit that was heard of.", together="livemax"
        )

    def _counter(self, name: str, doc: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"streamgauge_{name}", doc, labels or [], registry=self.registry)

    def _gauge(self, name: str, doc: str, labels: list[str] | None = None, *, together: Together = "livesum") -> Gauge:
        return Gauge(f"streamgauge_{name}", doc, labels or [], registry=self.registry, multiprocess_mode=together)

    def queued(self, events: int) -> None:
        """So many events wait for the sink."""
        self.queue.set(events)

    def committed(self, outcome: Outcome, seconds: float) -> None:
        """A group was committed."""
        self.commits.inc()
        self.counted.inc(outcome.counted)
        self.known.inc(outcome.known)
        self.commit_seconds.observe(seconds)

    def failed(self, error: BaseException) -> None:
        """A group could not be written."""
        self.failures.labels(type(error).__name__).inc()

    def request(self, request: web.Request, status: int, seconds: float) -> None:
        """A request was answered. The route's pattern is the label, so that ids do not multiply the series."""
        resource = request.match_info.route.resource
        method = request.method if request.method in _METHODS else "other"
        place = (method, resource, status)
        series = self._series.get(place)
        if series is None:
            route = resource.canonical if resource is not None else "none"
            series = self._series[place] = self.requests.labels(method, route, str(status))
        series.observe(seconds)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        if not self.shared:
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)
