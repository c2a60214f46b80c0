"""Runs of reports as those who make them see them: claimed for a while, finished once, claimed again where their maker died."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid4

from psycopg.rows import class_row

from storage.database import AsyncConn, Database
from storage.named import load
from storage.notices import REPORT_MOVED, REPORT_OVER
from storage.report_deliveries import hand_on

_QUERIES = load("report_runs")

Step = Literal["reading", "rendering", "storing"]
"""What the maker of a run is at. A run begins with reading."""

MOST_ATTEMPTS = 3
"""How often a run is tried whose maker ends without a word."""


@dataclass(frozen=True)
class ClaimedRun:
    """A run to make. `claim` is another at every claim. `parameters` are JSON.

    `own` are the names of the member whose trades alone may be in it; None where all may be.
    """

    organization: UUID
    id: UUID
    claim: UUID
    type: str
    parameters: str
    own: list[str] | None
    format: Literal["json", "pdf", "excel"]


@dataclass(frozen=True)
class Artefact:
    """What a run came to: the file, and a JSON summary of it."""

    summary: str
    data: bytes
    content_type: str
    file_name: str


class ReportWork:
    """The runs that one process claims. Whoever claims a run again after its lease takes it from the first, who cannot finish it then."""

    def __init__(self, database: Database, *, lease_s: float) -> None:
        self._database = database
        self._lease_s = lease_s

    async def claim(self, now: dt.datetime) -> ClaimedRun | None:
        """The run that waits longest, or whose maker is gone; it is this process's for `lease_s` seconds."""
        values = {"claim": uuid4(), "lease_s": self._lease_s, "now": now, "attempts": MOST_ATTEMPTS}
        async with self._database.jobs() as connection:
            for (gone,) in await (await connection.execute(_QUERIES["exhausted"], values)).fetchall():
                await hand_on(connection, gone, now)
                await connection.execute(_QUERIES["tell"], {"channel": REPORT_OVER, "id": gone})
            async with connection.cursor(row_factory=class_row(ClaimedRun)) as cursor:
                await cursor.execute(_QUERIES["claim"], values)
                run = await cursor.fetchone()
            if run is not None:
                await _tell_moved(connection, run.id, run.organization)
            return run

    async def renew(self, run: ClaimedRun) -> bool:
        """Holds it for another while; False where it was cancelled, or is another process's by now."""
        async with self._database.jobs() as connection:
            cursor = await connection.execute(
                _QUERIES["renew"], {"id": run.id, "claim": run.claim, "lease_s": self._lease_s}
            )
            return await cursor.fetchone() is not None

    async def move(self, run: ClaimedRun, step: Step, fraction: float | None = None) -> None:
        """Says what it is at, and how much of that is done (0 to 1) where that is known; who watches it is told."""
        values = {"id": run.id, "claim": run.claim, "step": step, "fraction": fraction}
        async with self._database.jobs() as connection:
            if await (await connection.execute(_QUERIES["move"], values)).fetchone() is not None:
                await _tell_moved(connection, run.id)

    async def release(self, run: ClaimedRun) -> None:
        """Leaves it to whoever claims it next."""
        async with self._database.jobs() as connection:
            left = await connection.execute(_QUERIES["release"], {"id": run.id, "claim": run.claim})
            if await left.fetchone() is not None:
                await _tell_moved(connection, run.id, run.organization)

    async def finish(self, run: ClaimedRun, made: Artefact, now: dt.datetime) -> bool:
        """Stores the file, ends the run and enters its deliveries, in one transaction; False where it is not this process's any more."""
        values = {
            "summary": made.summary,
            "artefact": made.data,
            "content_type": made.content_type,
            "file_name": made.file_name,
        }
        return await self._end("finish", run, {**values, "now": now})

    async def fail(self, run: ClaimedRun, error: str, status: int, now: dt.datetime) -> bool:
        """Ends the run with the reason why there is no file; `status` is what an HTTP answer would have."""
        return await self._end("fail", run, {"error": error, "error_status": status, "now": now})

    async def _end(self, how: str, run: ClaimedRun, values: dict[str, Any]) -> bool:
        async with self._database.jobs() as connection:
            ended = await (
                await connection.execute(_QUERIES[how], {**values, "id": run.id, "claim": run.claim})
            ).fetchone()
            if ended is None:
                return False
            await hand_on(connection, run.id, values["now"])
            await connection.execute(_QUERIES["tell"], {"channel": REPORT_OVER, "id": run.id})
            return True


async def _tell_moved(connection: AsyncConn, *concerned: UUID) -> None:
    for one in concerned:
        await connection.execute(_QUERIES["tell"], {"channel": REPORT_MOVED, "id": one})


async def prune_report_runs(database: Database, *, now: dt.datetime, days: int = 30) -> int:
    """Deletes runs that were asked for more than `days` ago, with their files. Returns how many."""
    async with database.jobs() as connection:
        cursor = await connection.execute(_QUERIES["prune"], {"before": now - dt.timedelta(days=days)})
        return cursor.rowcount
