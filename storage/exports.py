"""Exports' manifests: what was asked, whether the file is whole, and its rows, bytes and checksum."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import class_row

from storage.database import Database
from storage.named import load

_QUERIES = load("exports")

ABANDONED_AFTER = dt.timedelta(hours=2)
"""An export that is said to be running for so long has lost its process: none may take half of that."""


class ExportEnded(Exception):
    """The export is over already: the jobs gave it up."""


@dataclass(frozen=True)
class NewExport:
    """What is about to be sent. `question` is JSON: what is read, with every default put in."""

    id: UUID
    rollup: str
    format: str
    question: str
    columns: list[str]
    requested_by: str
    as_of: dt.datetime
    created_at: dt.datetime


@dataclass(frozen=True)
class StoredExport(NewExport):
    """A manifest. `rows`, `size` (bytes) and `sha256` are there once it is complete, `error` where it failed."""

    status: str
    finished_at: dt.datetime | None
    rows: int | None
    size: int | None
    sha256: bytes | None
    error: str | None


async def begin_export(database: Database, organization: UUID, export: NewExport) -> None:
    """Says that it is under way."""
    async with database.write(organization) as connection:
        await connection.execute(_QUERIES["begin"], vars(export))


async def complete_export(
    database: Database, organization: UUID, export: UUID, *, rows: int, size: int, sha256: bytes, now: dt.datetime
) -> None:
    """Says that all of it was made. Raises ExportEnded."""
    values = {"id": export, "rows": rows, "size": size, "sha256": sha256, "now": now}
    async with database.write(organization) as connection:
        if await (await connection.execute(_QUERIES["complete"], values)).fetchone() is None:
            raise ExportEnded("the export took so long that it was given up")


async def fail_export(database: Database, organization: UUID, export: UUID, error: str, *, now: dt.datetime) -> None:
    """Says why it is not whole."""
    async with database.write(organization) as connection:
        await connection.execute(_QUERIES["fail"], {"id": export, "error": error, "now": now})


async def stored_export(database: Database, organization: UUID, export: UUID) -> StoredExport | None:
    """The manifest, where the organization has one with this id."""
    async with (
        database.read(organization) as connection,
        connection.cursor(row_factory=class_row(StoredExport)) as cursor,
    ):
        await cursor.execute(_QUERIES["one"], {"id": export})
        return await cursor.fetchone()


async def prune_exports(database: Database, *, now: dt.datetime, days: int = 30) -> int:
    """Calls those failed whose process is gone, and deletes manifests older than `days`. Returns how many were deleted."""
    gone = {"now": now, "before": now - ABANDONED_AFTER, "error": "whoever made it ended, or lost the database"}
    async with database.jobs() as connection:
        await connection.execute(_QUERIES["abandon"], gone)
        cursor = await connection.execute(_QUERIES["prune"], {"before": now - dt.timedelta(days=days)})
        return cursor.rowcount
