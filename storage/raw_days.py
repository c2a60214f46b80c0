"""Where the raw events of a day are: in the raw table, in the archive, or dropped from the table because the archive has them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Iterable, Sequence
from itertools import groupby

import structlog
from psycopg.sql import SQL, Identifier

from ingest.events import KINDS
from storage.archive import Archive, ArchiveDamaged, ArchivedFile
from storage.database import AsyncConn, Conn, Database
from storage.edition import edition
from storage.named import load

log = structlog.get_logger(__name__)

_SQL = load("archive")

DAY = dt.timedelta(days=1)


class RawEventsGone(Exception):
    """A range cannot be recomputed: the raw events of some of its days are neither in the database nor in an archive."""

    def __init__(self, kind: str, days: Sequence[dt.date]) -> None:
        spans = ", ".join(first if first == last else f"{first} to {last}" for first, last in _spans(days))
        super().__init__(
            f"the raw events ({kind}) of {spans} are no longer in the database nor in the archive, so nothing can be recomputed from them;"
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


def gone_days(
    connection: Conn, kind: str, start: dt.datetime, end: dt.datetime, archive: Archive | None
) -> list[dt.date]:
    """The days of a kind in a range of whole UTC days of which events were dropped that no archive is there to read from, in order."""
    return [
        day
        for day, dropped, held in connection.execute(_SQL["dropped_days"], _bounds(kind, start, end)).fetchall()
        if archive is None or held != dropped
    ]


def archived_days(connection: Conn, kind: str, start: dt.datetime, end: dt.datetime) -> list[dt.date]:
    """The days of a kind in a range of whole UTC days that have events which are in the archive alone, in order."""
    return [day for day, *_ in connection.execute(_SQL["dropped_days"], _bounds(kind, start, end)).fetchall()]


def _bounds(kind: str, start: dt.datetime, end: dt.datetime) -> dict[str, object]:
    return {"kind": kind, "first": start.astimezone(dt.UTC).date(), "last": end.astimezone(dt.UTC).date()}


async def drop_raw_days(database: Database, before: dt.date, archive: Archive) -> tuple[int, list[str]]:
    """Drops the raw days before a date that the archive holds whole, after another look at their files.

    Returns how many were dropped, and the kinds of which older events are kept because the archive does not hold them.
    """
    dropped, kept = 0, []
    for kind in sorted(KINDS):
        async with database.jobs() as connection:
            cursor = await connection.execute(_SQL["droppable_days"], {"kind": kind, "before": before})
            days = [day for (day,) in await cursor.fetchall()]
        for day in days:
            if await _intact(database, archive, kind, day):
                with contextlib.suppress(_NotWhole):
                    async with database.jobs() as connection:
                        await _drop(connection, kind, day)
                    dropped += 1
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


async def _intact(database: Database, archive: Archive, kind: str, day: dt.date) -> bool:
    """Whether the files that hold what is to be dropped are there, byte for byte; where not, the log names the file."""
    async with database.jobs() as connection:
        cursor = await connection.execute(_SQL["files"], {"kind": kind, "first": day, "last": day + DAY})
        files = [ArchivedFile(*row) for row in await cursor.fetchall()]
    try:
        for file in files:
            if not file.dropped:
                await asyncio.to_thread(archive.checked, file)
    except ArchiveDamaged as error:
        log.error("day_not_dropped", kind=kind, day=day.isoformat(), reason=str(error))
        return False
    return True


class _NotWhole(Exception):
    """The table has rows of a day that the archive has not: nothing of it is dropped."""


async def _drop(connection: AsyncConn, kind: str, day: dt.date) -> None:
    """Drops one day where every event of it is in the archive. Raises _NotWhole, and the transaction must end with that.

    Rows are only ever added, and the archived ones are among them: as many are the same ones. A batch's number would not tell, for it
    is reserved before it is written.
    """
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    named = {"kind": kind, "day": day}
    await connection.execute("set local statement_timeout = 0")
    await connection.execute("set local lock_timeout = '4s'")
    chunks = (await edition(connection)).hypertables
    if chunks:
        # A chunk goes with all that is in it: writers wait, readers do not; and what a writer has under way is committed before the look.
        await connection.execute(SQL("lock table {} in share row exclusive mode").format(_table(kind)))
    row = await (await connection.execute(_SQL["lock_day"], named)).fetchone()
    if row is None or row == (0,):
        raise _NotWhole
    if chunks:
        counted = SQL("select count(*) from {} where time >= %s and time < %s").format(_table(kind))
        if await (await connection.execute(counted, (start, start + DAY))).fetchone() != row:
            raise _NotWhole
        # A chunk is gone for every snapshot at once, an old one too.
        await connection.execute(_GATE)
        await connection.execute("select store.drop_raw_chunks(%s, %s, %s)", (kind, start, start + DAY))
    # On plain PostgreSQL this is the drop itself, and no writer waits for it: a statement sees the rows that were there when it began and
    # no later one, so what it deletes it has counted. On a hypertable it takes what a chunk of another width left over.
    deleted = await connection.execute(
        SQL("delete from {} where time >= %s and time < %s").format(_table(kind)), (start, start + DAY)
    )
    if not chunks and deleted.rowcount != row[0]:
        raise _NotWhole
    await connection.execute(_GATE)
    await connection.execute(_SQL["mark_files_dropped"], named)
    await connection.execute(_SQL["mark_day_dropped"], named)


_GATE = "lock table store.archive_gate in access exclusive mode"
"""Nobody reads raw events of both places from here to the commit: else one might find a day in neither of them, or in both."""
