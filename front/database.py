"""The database of a command: the one that is set, or the embedded server, started where it does not run yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from front.settings import InvalidSetting, Settings, variable
from storage.embedded import EmbeddedPostgres

log = structlog.get_logger(__name__)


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """The database's URL: the one that is set, or the embedded server's, which runs while the block does."""
    if settings.database_url:
        yield settings.database_url
        return
    for field in ("api_database_url", "sink_database_url", "jobs_database_url"):
        if getattr(settings, field) is not None:
            raise InvalidSetting(
                f"{variable(field)}: is another login to the database of DATABASE_URL, which is not set"
            )
    server = EmbeddedPostgres(settings.data)
    url = server.start()
    log.info("embedded_postgresql", cluster=str(server.cluster))
    try:
        yield url
    finally:
        server.stop()
