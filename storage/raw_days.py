"""Where the raw events of a day are: in the raw table, in the archive, or dropped from the table because the archive has them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from itertools import groupby

from psycopg.sql import SQL, Identifier

from ingest.events import KINDS
from storage.database import AsyncConn, Conn, Database
from storage.edition import edition

DAY = dt.timedelta(days=1)


class RawEventsGone(Exception):
    """A range cannot be recomputed: the raw events of some of its days were dropped from the database."""

    def __init__(self, kind: str, days: Sequence[dt.date]) -> None:
        spans = ", ".join(first if first == last else f"{first} to {last}" for first, last in _spans(days))
        super().__init__(
            f"the raw events ({kind}) of {spans} are no longer in the database, so nothing can be recomputed from them;"
            " ask for a range without these days"
        )
        self.kind = kind
        self.days = list(days)


def _spans(days: Iterable[dt.date]) -> list[tuple[str, str]]:
    """Runs of days that follow each other, each as its first and its last."""
    runs = [
        [day for _, day in run]
        for _, run in groupby(enumerate(sorted(days)), key=lambda pair: pair[1].toordinal() - pair[0])
    ]
    return [(run[0].isoformat(), run[-1].isoformat()) for run in runs]


def dropped_days(connection: Conn, kind: str, start: dt.datetime, end: dt.datetime) -> list[dt.date]:
    """The days of a kind in a range of whole UTC days of which the raw table no longer has every event, in order."""
    rows = connection.execute(
        "select day from store.archived_day where kind = %s and dropped_batch is not null and day >= %s and day < %s order by day",
        (kind, start.astimezone(dt.UTC).date(), end.astimezone(dt.UTC).date()),
    )
    return [day for (day,) in rows.fetchall()]


async def drop_raw_days(database: Database, before: dt.date) -> tuple[int, list[str]]:
    """Drops the raw days before a date that the archive holds whole.

    Returns how many were dropped, and the kinds of which older events are kept because the archive does not hold them.
    """
    dropped, kept = 0, []
    for kind in sorted(KINDS):
        async with database.jobs() as connection:
            cursor = await connection.execute(
                "select day from store.archived_day where kind = %s and day < %s and batch is distinct from dropped_batch"
                " order by day",
                (kind, before),
            )
            days = [day for (day,) in await cursor.fetchall()]
        for day in days:
            async with database.jobs() as connection:
                dropped += await _drop(connection, kind, day)
        async with database.jobs() as connection:
            cursor = await connection.execute(
                SQL("select exists (select from {} where time < %s)").format(_table(kind)),
                (dt.datetime.combine(before, dt.time(), dt.UTC),),
            )
            row = await cursor.fetchone()
            if row is not None and row[0]:
                kept.append(kind)
    return dropped, kept


def _table(kind: str) -> Identifier:
    return Identifier("store", f"event_{kind}")


async def _drop(connection: AsyncConn, kind: str, day: dt.date) -> bool:
    """Drops one day where every event of it is in the archive; whether it did. No event can slip in between the look and the drop."""
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    await connection.execute("set local statement_timeout = 0")
    await connection.execute("set local lock_timeout = '4s'")
    # Writers wait, readers do not; and what a writer has under way is committed before the look.
    await connection.execute(SQL("lock table {} in share row exclusive mode").format(_table(kind)))
    cursor = await connection.execute(
        "select batch from store.archived_day where kind = %s and day = %s for update", (kind, day)
    )
    row = await cursor.fetchone()
    if row is None:
        return False
    (batch,) = row
    newer = SQL("select exists (select from {} where time >= %s and time < %s and batch > %s)").format(_table(kind))
    found = await (await connection.execute(newer, (start, start + DAY, batch))).fetchone()
    if found is None or found[0]:
        return False
    if (await edition(connection)).hypertables:
        await connection.execute("select store.drop_raw_chunks(%s, %s, %s)", (kind, start, start + DAY))
    # On plain PostgreSQL this is the drop itself; on a hypertable it takes what a chunk of another width left over.
    await connection.execute(
        SQL("delete from {} where time >= %s and time < %s").format(_table(kind)), (start, start + DAY)
    )
    await connection.execute(
        "update store.archived_day set dropped_batch = batch, dropped_at = now() where kind = %s and day = %s",
        (kind, day),
    )
    return True
