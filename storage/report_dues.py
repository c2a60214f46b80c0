"""Due times of schedules as the schedulers see them: each is decided once, in the transaction that makes its run."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal
from uuid import UUID, uuid4

from psycopg.rows import class_row

from storage.database import AsyncConn, Database, translated
from storage.named import load
from storage.notices import REPORT_ASKED

_QUERIES = load("report_schedules")

MOST_SCHEDULED = 200
"""Runs of an organization's schedules that may wait or be made at once."""
KEPT_DAYS = 400
"""How long is known what came of a due time."""


@dataclass(frozen=True)
class DueSchedule:
    """A schedule with a due time that is over. Fields as in ReportSchedule."""

    organization: UUID
    id: UUID
    type: str
    format: Literal["json", "pdf", "excel"]
    cron: str
    tz: str
    days: str
    parameters: str
    own: list[str] | None
    recipients: str
    created_by: str
    since: dt.datetime
    next_at: dt.datetime


@dataclass(frozen=True)
class DueTime:
    """A due time, and the local time of its schedule that it is known by."""

    at: dt.datetime
    period: dt.datetime


class Deciding:
    """The decision about the due times of one schedule: all that is told to it is there, or nothing of it."""

    def __init__(self, connection: AsyncConn, schedule: DueSchedule, now: dt.datetime) -> None:
        self._connection = connection
        self._now = now
        self.schedule = schedule

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """What fails in it is undone, and something else can be decided."""
        with translated():
            async with self._connection.transaction():
                yield

    async def full(self) -> bool:
        """Whether the organization has as many runs of schedules waiting as it may."""
        values = {"organization": self.schedule.organization}
        row = await (await self._connection.execute(_QUERIES["in_flight"], values)).fetchone()
        return row is not None and row[0] >= MOST_SCHEDULED

    async def make(self, due: DueTime, parameters: str) -> UUID | None:
        """The run of a due time, with these parameters (JSON); None where the period was decided before."""
        schedule, key = self.schedule, f"{self.schedule.id} {due.period.isoformat()}"
        values = {
            "organization": schedule.organization,
            "schedule": schedule.id,
            "period": due.period,
            "due_at": due.at,
            "run": uuid4(),
            "type": schedule.type,
            "parameters": parameters,
            "own": schedule.own,
            "format": schedule.format,
            "created_by": schedule.created_by,
            "digest": hashlib.sha256(key.encode()).digest(),
            "recipients": schedule.recipients,
            "now": self._now,
        }
        made = await (await self._connection.execute(_QUERIES["make"], values)).fetchone()
        if made is None:
            return None
        await self._connection.execute(_QUERIES["tell"], {"channel": REPORT_ASKED, "id": made[0]})
        return UUID(str(made[0]))

    async def miss(self, dues: Sequence[DueTime], reason: str) -> None:
        """Notes why there are no runs of due times; those whose periods were decided before stay as they are."""
        values = {
            "organization": self.schedule.organization,
            "schedule": self.schedule.id,
            "periods": [due.period for due in dues],
            "due_at": [due.at for due in dues],
            "reason": reason[:500],
            "now": self._now,
        }
        await self._connection.execute(_QUERIES["miss"], values)

    async def advance(self, since: dt.datetime, next_at: dt.datetime | None) -> None:
        """All due times up to `since` are decided, and the next one is at `next_at`."""
        values = {"id": self.schedule.id, "since": since, "next_at": next_at}
        await self._connection.execute(_QUERIES["advance"], values)


@asynccontextmanager
async def deciding(database: Database, now: dt.datetime) -> AsyncIterator[Deciding | None]:
    """The schedule that is due for longest, in a transaction; no other scheduler decides about it meanwhile. None where none is due."""
    async with database.jobs() as connection:
        async with connection.cursor(row_factory=class_row(DueSchedule)) as cursor:
            await cursor.execute(_QUERIES["claim"], {"now": now})
            found = await cursor.fetchone()
        yield None if found is None else Deciding(connection, found, now)


async def next_due(database: Database) -> dt.datetime | None:
    """When the next schedule is due."""
    async with database.jobs() as connection:
        row = await (await connection.execute(_QUERIES["next"])).fetchone()
    return None if row is None else row[0]


async def prune_dues(database: Database, *, now: dt.datetime) -> int:
    """Deletes what came of due times more than KEPT_DAYS ago. Returns of how many."""
    async with database.jobs() as connection:
        cursor = await connection.execute(_QUERIES["prune_dues"], {"before": now - dt.timedelta(days=KEPT_DAYS)})
        return cursor.rowcount
