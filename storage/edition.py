"""Which database this is: plain PostgreSQL, or TimescaleDB in its Apache or its community edition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import psycopg
import structlog

from storage.database import AsyncConn, Conn, connect

log = structlog.get_logger(__name__)

OLDEST_TIMESCALEDB = (2, 13)
"""The first with `create_hypertable(…, by_range(…))`."""

_DETECT = (
    "select current_setting('server_version'), current_setting('timescaledb.license', true),"
    " (select extversion from pg_extension where extname = 'timescaledb')"
)


@dataclass(frozen=True)
class Edition:
    """The edition of a database and its versions. `timescaledb` is None on plain PostgreSQL.

    `plain` has ordinary tables. `apache` has hypertables and drops whole chunks. `community` compresses old chunks as well.
    """

    name: Literal["plain", "apache", "community"]
    postgresql: str
    timescaledb: str | None

    @property
    def hypertables(self) -> bool:
        """Whether tables can be cut into chunks of time."""
        return self.name != "plain"

    @property
    def compression(self) -> bool:
        """Whether old chunks can be compressed."""
        return self.name == "community"

    def at_least(self, *version: int) -> bool:
        """Whether TimescaleDB is there in this version or a newer one."""
        return self.timescaledb is not None and _numbers(self.timescaledb) >= version


def _numbers(version: str) -> tuple[int, ...]:
    """`2.19.3` or `2.23.0-dev` as numbers."""
    return tuple(int(part) for part in version.split("-")[0].split("."))


def _edition(postgresql: str, license_: str | None, timescaledb: str | None) -> Edition:
    # Without the extension the setting may be there all the same, where the server loads the library for other databases.
    if timescaledb is None:
        return Edition("plain", postgresql, None)
    return Edition("community" if license_ == "timescale" else "apache", postgresql, timescaledb)


def detect(connection: Conn) -> Edition:
    """The edition of the database at the other end of a blocking connection."""
    row = connection.execute(_DETECT).fetchone()
    assert row is not None
    return _edition(*row)


async def edition(connection: AsyncConn) -> Edition:
    """The edition of the database at the other end of a connection, for whoever shows it."""
    row = await (await connection.execute(_DETECT)).fetchone()
    assert row is not None
    return _edition(*row)


def create_extension(url: str) -> None:
    """Creates TimescaleDB's extension where the server has it loaded and lets us; else the database stays what it is.

    The look before has a reason: without the library preloaded the attempt would end the connection. It has one of its own, as the
    library wants to be the first thing that a session meets.
    """
    with connect(url, name="extension") as connection:
        row = connection.execute(
            "select current_setting('timescaledb.max_background_workers', true) is not null"
            " and exists (select from pg_available_extensions where name = 'timescaledb' and installed_version is null)"
        ).fetchone()
        if row is None or not row[0]:
            return
        try:
            connection.execute("create extension if not exists timescaledb")
        except psycopg.errors.InsufficientPrivilege as error:
            log.warning("timescaledb_not_created", reason=str(error).strip(), edition="plain")
