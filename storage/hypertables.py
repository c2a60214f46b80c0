"""Raw events and rollups as hypertables, where the database is TimescaleDB; compression, where its edition has it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import structlog
from psycopg.sql import SQL, Composed, Identifier, Literal

from aggregators.rollup import Rollup
from ingest.events import KINDS
from storage import rollup_sql
from storage.database import Conn, StorageUnavailable
from storage.edition import OLDEST_TIMESCALEDB, Edition

log = structlog.get_logger(__name__)

RAW_CHUNK = dt.timedelta(days=1)
"""Raw events are read by a batch's times, recomputed by the day and dropped by the day: a chunk is what any of these touches.
Besides, the block ranges of a chunk's BRIN index hold one day's events only, whatever arrived late in between."""

ROLLUP_CHUNKS = {
    "1m": dt.timedelta(days=1),
    "15m": dt.timedelta(days=30),
    "1h": dt.timedelta(days=90),
    "1d": dt.timedelta(days=1_440),
}
"""By grain, so that a chunk holds 1,440 to 2,880 buckets of each key at every grain: chunks are of like size, and the newest ones,
which take nearly all upserts, stay in memory with their indexes. Reading prefers coarse grains, so a year is 2 chunks of `1d`; in
a zone with whole hours 6 of `1h`, in the others 14 of `15m`. `1m` serves hours and days only, a chunk each."""


def ensure_hypertables(
    connection: Conn, rollups: Sequence[Rollup], edition: Edition, *, compress_after_days: int
) -> list[str]:
    """Turns every raw and rollup table that is none yet into a hypertable, with the rows that it has; returns their names.

    Each is a transaction of its own: one that is interrupted leaves an ordinary table, which the next start turns. Plain
    PostgreSQL keeps its tables. Raises StorageUnavailable for a TimescaleDB that is too old.
    """
    if not edition.hypertables:
        return []
    if not edition.at_least(*OLDEST_TIMESCALEDB):
        oldest = ".".join(map(str, OLDEST_TIMESCALEDB))
        raise StorageUnavailable(f"TimescaleDB {oldest} or newer is needed; this is {edition.timescaledb}")
    made = []
    present = _hypertables(connection)
    for name, column, width in read_by_time(rollups):
        if name not in present:
            connection.execute(hypertable(name, column, width))
            made.append(name)
    if made:
        log.info("hypertables_made", tables=len(made), edition=edition.name)
    if edition.compression:
        for kind in sorted(KINDS):
            _compress(connection, kind, edition, compress_after_days, enabled=present.get(f"event_{kind}", False))
    return made


def read_by_time(rollups: Sequence[Rollup]) -> Iterator[tuple[str, str, dt.timedelta]]:
    """Name, time column and chunk width of all tables that are read by time."""
    for kind in sorted(KINDS):
        yield f"event_{kind}", "time", RAW_CHUNK
    for rollup in rollups:
        for grain in rollup.grains:
            yield rollup_sql.table_name(rollup, grain), "bucket", ROLLUP_CHUNKS[grain]


def _hypertables(connection: Conn) -> dict[str, bool]:
    """The hypertables there are, and whether compression is switched on for them."""
    return dict(
        connection.execute(
            "select hypertable_name, compression_enabled from timescaledb_information.hypertables"
            " where hypertable_schema = 'store'"
        ).fetchall()
    )


def hypertable(name: str, column: str, width: dt.timedelta) -> Composed:
    """The statement that turns a table of the schema `store` into a hypertable, rows and all. Its own indexes serve: no other is made."""
    return SQL(
        "select create_hypertable({table}::regclass, by_range({column}, interval {width}),"
        " create_default_indexes => false, if_not_exists => true, migrate_data => true)"
    ).format(table=_literal(name), column=Literal(column), width=Literal(f"{width // dt.timedelta(days=1)} days"))


def _literal(name: str) -> Literal:
    """The quoted name of a table of the schema `store` as a text, for a cast to regclass."""
    return Literal(Identifier("store", name).as_string(None))


def compression(kind: str, edition: Edition) -> Composed:
    """The statement that makes the raw events of a kind compressible. An organization's rows stand together, in order of time.

    Raw tables only: late events are new rows there, which a compressed chunk takes beside what is compressed. In a rollup they
    would be upserts into compressed rows.
    """
    form = (
        "alter table {} set (timescaledb.enable_columnstore = true, timescaledb.segmentby = 'organization',"
        " timescaledb.orderby = 'time')"
        if edition.at_least(2, 18)
        else "alter table {} set (timescaledb.compress, timescaledb.compress_segmentby = 'organization',"
        " timescaledb.compress_orderby = 'time')"
    )
    return SQL(form).format(Identifier("store", f"event_{kind}"))


def compression_policy(kind: str, edition: Edition, after_days: int) -> list[Composed]:
    """The statements that have chunks compressed once they are so many days old, whatever was asked before."""
    forms = (
        (
            "call remove_columnstore_policy({table}::regclass, if_exists => true)",
            "call add_columnstore_policy({table}::regclass, after => interval {after})",
        )
        if edition.at_least(2, 18)
        else (
            "select remove_compression_policy({table}::regclass, if_exists => true)",
            "select add_compression_policy({table}::regclass, compress_after => interval {after})",
        )
    )
    table = _literal(f"event_{kind}")
    return [SQL(form).format(table=table, after=Literal(f"{after_days} days")) for form in forms]


def _compress(connection: Conn, kind: str, edition: Edition, after_days: int, *, enabled: bool) -> None:
    if not enabled:
        connection.execute(compression(kind, edition))
    same = connection.execute(
        "select exists (select from timescaledb_information.jobs where hypertable_schema = 'store' and hypertable_name = %s"
        " and proc_name = 'policy_compression' and (config ->> 'compress_after')::interval = make_interval(days => %s))",
        (f"event_{kind}", after_days),
    ).fetchone()
    if same is None or not same[0]:
        for statement in compression_policy(kind, edition, after_days):
            connection.execute(statement)
        log.info("compression_policy", kind=kind, after_days=after_days)
