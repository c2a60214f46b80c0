"""Writing the archive: a day of one kind at a time, from one snapshot, read back before the database's books name a file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

import polars as pl
import structlog
from psycopg.sql import SQL, Identifier

from ingest.events import KINDS
from storage.archive import Archive, ArchiveDamaged, ArchivedFile, ArchiveUnavailable, duck, escaped, told
from storage.archive_columns import HASH_SUMS, archived_columns, frame_of, row_hash, selected
from storage.archive_parquet import ParquetFile, RowSummary
from storage.database import JOBS_ROLE, Conn, connect, translated
from storage.named import load
from storage.raw_days import DAY

log = structlog.get_logger(__name__)

_SQL = load("archive")
_LOCK = (731_005, 0)
"""The advisory lock of whoever archives."""

PIECE = 49_152
"""Rows that are in memory at once, and in a row group of a file: a multiple of what duckdb groups rows by."""

Stop = Callable[[], bool]
"""Whether to stop; asked between pieces. What was not finished is begun anew by the next run."""


@dataclass(frozen=True)
class ArchiveRun:
    """What a run came to: days of a kind, files and rows that were archived, and what waits (why, where it could not be archived).

    `elsewhere`: another process archives now, so this one did nothing.
    """

    days: int = 0
    files: int = 0
    rows: int = 0
    waiting: tuple[tuple[str, dt.date], ...] = ()
    elsewhere: bool = False
    stopped: bool = False
    problem: str | None = None


class _StoppedError(Exception):
    """A stop was asked for in the middle of a day."""


@dataclass(frozen=True)
class _Expected:
    """What the database has of one organization's day that is not archived yet."""

    organization: UUID
    rows: int
    sums: tuple[str, str]
    first_batch: int
    last_batch: int
    first_time: dt.datetime
    last_time: dt.datetime


def archive_days(
    url: str,
    archive: Archive,
    before: dt.date,
    *,
    stop: Stop = lambda: False,
    progress: Callable[[str], None] = lambda _: None,
) -> ArchiveRun:
    """Archives every event of the days before a date that is not in the archive yet, the oldest day first.

    One process at a time does so. `progress` is called with each kind and day that is begun. A folder that fails ends the run: what is
    done is kept, the rest waits and `problem` says why. A day with a damaged file waits alone. Raises StorageUnavailable
    where the database is away.
    """
    with translated(), connect(url, name="archive", role=JOBS_ROLE) as connection:
        locked = connection.execute("select pg_try_advisory_lock(%s, %s)", _LOCK).fetchone()
        if locked is None or not locked[0]:
            return ArchiveRun(elsewhere=True)
        waiting = waiting_days(connection, before)
        days = files = rows = 0
        problem, stopped = None, False
        left = list(waiting)
        try:
            if waiting:
                identity, holds_files = _one(connection, "identity")
                archive.enter(identity, holds_files=holds_files)
            for kind, day in waiting:
                progress(f"{kind} {day.isoformat()}")
                try:
                    made = archive_day(connection, archive, kind, day, stop=stop)
                except ArchiveDamaged as error:
                    # The others do not wait for a file of one day.
                    problem = problem or str(error)
                    continue
                days, files, rows = days + 1, files + len(made), rows + sum(file.rows for file in made)
                left.remove((kind, day))
        except ArchiveUnavailable as error:
            problem = problem or str(error)
        except _StoppedError:
            stopped = True
        oldest = min((day for _, day in left), default=None)
        connection.execute(_SQL["looked"], {"oldest": oldest, "waiting": len(left)})
        return ArchiveRun(days, files, rows, tuple(left), stopped=stopped, problem=problem)


def _one(connection: Conn, name: str) -> tuple[UUID, bool]:
    row = connection.execute(_SQL[name]).fetchone()
    assert row is not None
    return row[0], row[1]


def waiting_days(connection: Conn, before: dt.date) -> list[tuple[str, dt.date]]:
    """Kinds and days before a date of which the raw table has events that the archive has not, the oldest day first."""
    found: list[tuple[str, dt.date]] = []
    for kind in sorted(KINDS):
        statement = SQL(
            "select t.day from (select (time at time zone 'UTC')::date as day, count(*) as rows from {} where time < %s group by 1) t"
            " left join store.archived_day d on d.kind = %s and d.day = t.day"
            " where t.rows > coalesce(d.rows - d.dropped_rows, 0)"
        ).format(Identifier("store", f"event_{kind}"))
        moment = dt.datetime.combine(before, dt.time(), dt.UTC)
        found += [(kind, day) for (day,) in connection.execute(statement, (moment, kind)).fetchall()]
    return sorted(found, key=lambda pair: (pair[1], pair[0]))


def archive_day(
    connection: Conn, archive: Archive, kind: str, day: dt.date, *, stop: Stop = lambda: False
) -> list[ArchivedFile]:
    """Archives what the raw table has of a day and the archive has not; returns the files, one an organization.

    Ended anywhere, it leaves the books as they were, and what it left in the folder the next run removes. The caller holds the lock.
    Raises ArchiveUnavailable where the folder fails, or where a file is read back otherwise than the database has it.
    """
    with told(f"{kind} events of {day.isoformat()} cannot be archived"), connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("set local work_mem = '64MB'")
        bounds = {"kind": kind, "first": day, "last": day + DAY}
        before = [ArchivedFile(*row) for row in connection.execute(_SQL["files"], bounds).fetchall()]
        attempt = _attempt(connection)
        if removed := archive.mend(kind, day, {file.path for file in before}, attempt):
            log.info("archive_mended", kind=kind, day=day.isoformat(), files=removed)
        known = _batches([archive.checked(file) for file in before if not file.dropped])
        expected = _expected(connection, kind, day, known)
        if not expected:
            return []
        made = list(_written(connection, archive, kind, day, attempt, known, expected, stop))
        connection.execute(
            _SQL["add_to_day"],
            {
                "kind": kind,
                "day": day,
                "rows": sum(file.rows for file in made),
                "batch": max(one.last_batch for one in expected),
                "files": len(made),
                "bytes": sum(file.bytes for file in made),
            },
        )
        for file in made:
            connection.execute(_SQL["add_file"], asdict(file))
    log.info("day_archived", kind=kind, day=day.isoformat(), files=len(made), rows=sum(file.rows for file in made))
    return made


def _attempt(connection: Conn) -> int:
    """A number above that of every earlier attempt: the transaction's own, as each is begun after the one before let go of the lock."""
    row = connection.execute("select pg_current_xact_id()::text::bigint").fetchone()
    assert row is not None
    return int(row[0])


def _batches(places: list[Path]) -> list[int]:
    """The batches that files hold. A batch is written in one transaction: where one of its rows of a day is archived, all are."""
    if not places:
        return []
    with duck() as connection:
        found = connection.execute(
            "select distinct batch from read_parquet($1)", [[escaped(place) for place in places]]
        )
        return [batch for (batch,) in found.fetchall()]


# Not "above the last one": numbers are reserved before they are written, so a lower one may come later.
_RANGE = SQL("from {} where time >= %(start)s and time < %(end)s and batch <> all(%(known)s)")


def _parameters(day: dt.date, known: list[int]) -> dict[str, object]:
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    return {"start": start, "end": start + DAY, "known": known}


def _expected(connection: Conn, kind: str, day: dt.date, known: list[int]) -> list[_Expected]:
    statement = SQL(
        "select organization, count(*), {sums}, min(batch), max(batch), min(time), max(time)"
        " from (select organization, time, batch, {hash} as hash {rows}) as t group by organization order by organization"
    ).format(sums=HASH_SUMS, hash=row_hash(kind), rows=_RANGE.format(Identifier("store", f"event_{kind}")))
    return [
        _Expected(organization, rows, (one, other), *places)
        for organization, rows, one, other, *places in connection.execute(statement, _parameters(day, known)).fetchall()
    ]


def _written(
    connection: Conn,
    archive: Archive,
    kind: str,
    day: dt.date,
    attempt: int,
    known: list[int],
    expected: list[_Expected],
    stop: Stop,
) -> Iterator[ArchivedFile]:
    """The files of a day, each durable and read back when it is yielded."""
    frames = _frames(connection, kind, day, known, stop)
    ahead = next(frames, None)
    for one in expected:
        relative = f"{kind}/{day.isoformat()}/{one.organization}/{one.first_batch}-{one.last_batch}-{attempt}.parquet"
        file = ParquetFile(archive.folder / relative, kind)
        try:
            while ahead is not None and ahead["organization"][0] == str(one.organization):
                file.add(ahead)
                ahead = next(frames, None)
            size, sha256 = file.finish(RowSummary(one.rows, one.sums), row_group=PIECE, root=archive.folder)
        finally:
            file.clear()
        yield ArchivedFile(
            one.organization, kind, day, relative, one.rows, size, sha256, one.first_time, one.last_time, dropped=False
        )


def _frames(connection: Conn, kind: str, day: dt.date, known: list[int], stop: Stop) -> Iterator[pl.DataFrame]:
    """The rows of a day in frames of one organization each, by organization and then by time."""
    types = archived_columns(kind)
    statement = SQL("select {} {} order by organization, time, source, id, batch, item").format(
        selected(types), _RANGE.format(Identifier("store", f"event_{kind}"))
    )
    with connection.cursor(name="archived_events") as cursor:
        cursor.execute(statement, _parameters(day, known))
        while rows := cursor.fetchmany(PIECE):
            if stop():
                raise _StoppedError
            yield from frame_of(types, rows).partition_by("organization", maintain_order=True)
