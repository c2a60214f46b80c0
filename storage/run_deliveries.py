"""Deliveries of a report as those see them who may see the report: how far each is, and having one tried again that was given up."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import class_row

from storage.database import Database
from storage.named import load
from storage.notices import REPORT_DELIVERY

_QUERIES = load("report_deliveries")


@dataclass(frozen=True)
class RunDelivery:
    """A delivery of a run. `recipient` is JSON (storage.report_recipients); `next_at` is when it is tried, or was at last."""

    id: UUID
    recipient: str
    status: str
    attempts: int
    next_at: dt.datetime
    error: str | None
    delivered_at: dt.datetime | None
    created_at: dt.datetime


async def run_deliveries(
    database: Database, organization: UUID, run: UUID, *, requested_by: str | None
) -> list[RunDelivery] | None:
    """The deliveries of a run, in the order of its recipients; None where that one (None: anybody) requested no such run."""
    values = {"run": run, "requested_by": requested_by}
    async with database.read(organization) as connection:
        if await (await connection.execute(_QUERIES["seen"], values)).fetchone() is None:
            return None
        async with connection.cursor(row_factory=class_row(RunDelivery)) as cursor:
            await cursor.execute(_QUERIES["of_run"], values)
            return await cursor.fetchall()


async def deliver_again(database: Database, organization: UUID, run: UUID, delivery: UUID, *, now: dt.datetime) -> bool:
    """Has a delivery tried again that was given up, with its key; False where it was not given up."""
    async with database.write(organization) as connection:
        again = await connection.execute(_QUERIES["again"], {"run": run, "id": delivery, "now": now})
        if await again.fetchone() is None:
            return False
        await connection.execute(_QUERIES["tell"], {"channel": REPORT_DELIVERY, "id": run})
        return True
