"""Runs of reports as those who ask see them: asked for, joined, listed, cancelled, read."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import class_row

from storage.database import AsyncConn, Database
from storage.named import load
from storage.notices import REPORT_ASKED, REPORT_MOVED, REPORT_OVER

_QUERIES = load("report_runs")

MOST_IN_FLIGHT = 50
"""Runs of an organization that may wait or be made at once."""


class TooManyRuns(Exception):
    """The organization has as many runs waiting as it may."""


@dataclass(frozen=True)
class ReportRun:
    """A run without its file. `parameters` and `summary` are JSON; `summary` is there once it succeeded, and never in a list.

    `step` is what its maker is at, or was at last.
    """

    id: UUID
    type: str
    parameters: str
    format: str
    requested_by: str
    status: str
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    error: str | None
    error_status: int | None
    summary: str | None
    generated_at: dt.datetime | None
    file_name: str | None
    size: int | None
    step: str | None


@dataclass(frozen=True)
class RunProgress:
    """How far a run is: its status, `step` and `fraction` as its maker last said them, and its place in its organization's line, from 1."""

    status: str
    step: str | None
    fraction: float | None
    place: int


@dataclass(frozen=True)
class ReportFile:
    """What a run came to."""

    artefact: bytes
    content_type: str
    file_name: str
    sha256: bytes


@dataclass(frozen=True)
class ReportRequest:
    """What is asked for. `own`: the names of the member whose trades alone may be in it; `digest` is the same for the same request."""

    type: str
    parameters: str
    own: list[str] | None
    format: str
    requested_by: str
    digest: bytes


async def ask_for_report(database: Database, organization: UUID, asked: ReportRequest, *, now: dt.datetime) -> UUID:
    """The run of a request: the one that is waiting or being made already, else a new one. Raises TooManyRuns."""
    values = {**vars(asked), "id": uuid4(), "created_at": now}
    async with database.write(organization) as connection:
        while True:
            joined = await (await connection.execute(_QUERIES["joined"], values)).fetchone()
            if joined is not None:
                return UUID(str(joined[0]))
            count = await (await connection.execute(_QUERIES["in_flight"])).fetchone()
            if count is not None and count[0] >= MOST_IN_FLIGHT:
                raise TooManyRuns(f"{MOST_IN_FLIGHT} reports are waiting already; wait for them, or cancel some")
            made = await (await connection.execute(_QUERIES["ask"], values)).fetchone()
            if made is not None:
                await _tell(connection, REPORT_ASKED, made[0])
                return UUID(str(made[0]))
            # Another request made the same one meanwhile; it is joined, or over by now and asked for again.


async def report_run(
    database: Database, organization: UUID, run: UUID, *, requested_by: str | None = None
) -> ReportRun | None:
    """A run, where there is one that was requested by that one (None: by anybody)."""
    async with (
        database.read(organization) as connection,
        connection.cursor(row_factory=class_row(ReportRun)) as cursor,
    ):
        await cursor.execute(_QUERIES["one"], {"id": run, "requested_by": requested_by})
        return await cursor.fetchone()


async def run_progress(
    database: Database, organization: UUID, run: UUID, *, requested_by: str | None = None
) -> RunProgress | None:
    """How far a run is, where there is one that was requested by that one (None: by anybody)."""
    async with (
        database.read(organization) as connection,
        connection.cursor(row_factory=class_row(RunProgress)) as cursor,
    ):
        await cursor.execute(_QUERIES["progress"], {"id": run, "requested_by": requested_by})
        return await cursor.fetchone()


async def list_report_runs(
    database: Database, organization: UUID, *, requested_by: str | None, limit: int, offset: int
) -> tuple[list[ReportRun], int]:
    """The runs from place `offset` on, the newest first, and how many there are in all."""
    values: dict[str, Any] = {"requested_by": requested_by, "limit": limit, "offset": offset}
    async with database.read(organization) as connection:
        async with connection.cursor(row_factory=class_row(ReportRun)) as cursor:
            await cursor.execute(_QUERIES["page"], values)
            found = await cursor.fetchall()
        row = await (await connection.execute(_QUERIES["count"], values)).fetchone()
    assert row is not None
    return found, row[0]


async def cancel_report_run(
    database: Database, organization: UUID, run: UUID, *, requested_by: str | None, now: dt.datetime
) -> bool:
    """Whether it was waiting or being made, and is cancelled now; whoever makes it is told."""
    async with database.write(organization) as connection:
        values = {"id": run, "requested_by": requested_by, "now": now}
        cancelled = await (await connection.execute(_QUERIES["cancel"], values)).fetchone()
        if cancelled is None:
            return False
        await _tell(connection, REPORT_OVER, run)
        # Who waits behind it may have come nearer.
        await _tell(connection, REPORT_MOVED, cancelled[0])
        return True


async def report_file(database: Database, organization: UUID, run: UUID) -> ReportFile | None:
    """The file of a run that succeeded."""
    async with (
        database.read(organization) as connection,
        connection.cursor(row_factory=class_row(ReportFile)) as cursor,
    ):
        await cursor.execute(_QUERIES["file"], {"id": run})
        return await cursor.fetchone()


async def _tell(connection: AsyncConn, channel: str, run: UUID) -> None:
    await connection.execute(_QUERIES["tell"], {"channel": channel, "id": run})
