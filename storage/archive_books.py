"""What the database's books say of the archive: its days, its files, how much it holds and what waits for it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from storage.archive import Archive, ArchivedFile, ArchiveUnavailable
from storage.archive_parquet import summary
from storage.database import JOBS_ROLE, AsyncConn, connect, translated
from storage.named import load

_SQL = load("archive")


@dataclass(frozen=True)
class ArchivedDay:
    """A day of a kind in the archive. `dropped_rows` of its `rows` are no longer in the raw table."""

    kind: str
    day: dt.date
    rows: int
    files: int
    bytes: int
    dropped_rows: int
    archived_at: dt.datetime
    dropped_at: dt.datetime | None


@dataclass(frozen=True)
class ArchiveTotals:
    """How much the archive holds, and what waited when it was last looked: the oldest day, and how many days of a kind."""

    days: int
    rows: int
    bytes: int
    looked_at: dt.datetime | None
    oldest_waiting: dt.date | None
    days_waiting: int


def archive_days_held(url: str) -> list[ArchivedDay]:
    """Every day in the archive, the oldest first. Raises StorageUnavailable."""
    with translated(), connect(url, name="archive list", role=JOBS_ROLE) as connection:
        return [ArchivedDay(*row) for row in connection.execute(_SQL["days"]).fetchall()]


def archive_problems(url: str, archive: Archive) -> Iterator[tuple[ArchivedFile, str | None]]:
    """Reads every file that the books name; yields each with what is wrong with it, None where it is whole. Raises StorageUnavailable."""
    with translated(), connect(url, name="archive verify", role=JOBS_ROLE) as connection:
        files = [ArchivedFile(*row) for row in connection.execute(_SQL["every_file"]).fetchall()]
    for file in files:
        try:
            found = summary(archive.checked(file), file.kind)
        except ArchiveUnavailable as error:
            yield file, str(error)
        else:
            yield file, None if found.count == file.rows else f"{file.path} has {found.count} rows, not {file.rows}"


async def archive_totals(connection: AsyncConn) -> ArchiveTotals:
    """The sums, for whoever shows them. Inside a transaction of the service's role."""
    row = await (await connection.execute(_SQL["totals"])).fetchone()
    assert row is not None
    return ArchiveTotals(*row)
