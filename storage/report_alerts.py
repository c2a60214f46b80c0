"""Alerts about reports that wait to be told as events: numbered and claimed, forgotten once the log has them, or released."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import class_row

from storage.database import Database
from storage.named import load

_QUERIES = load("report_alerts")


@dataclass(frozen=True)
class ReportAlert:
    """What an organization is told as an event: `key` is the event's id, `number` its sequence, `metric` what happened once."""

    organization: UUID
    key: str
    metric: str
    happened_at: dt.datetime
    number: int


async def claim_alerts(database: Database, *, lease_s: float, limit: int = 100) -> list[ReportAlert]:
    """The lowest numbers that wait, in their order: this process's to tell for `lease_s` seconds. None where another has claimed some.

    Whoever tells an organization's alerts in this order, each once those before it are accepted, leaves out none, however late it is
    and whoever else tells them meanwhile: what waits with a lower number is among them, and what was told already is known by its number.
    """
    async with database.jobs() as connection:
        await connection.execute(_QUERIES["alone"])
        async with connection.cursor(row_factory=class_row(ReportAlert)) as cursor:
            await cursor.execute(_QUERIES["claim"], {"lease_s": lease_s, "limit": limit})
            return sorted(await cursor.fetchall(), key=lambda alert: alert.number)


async def release_alerts(database: Database, alerts: Sequence[ReportAlert]) -> None:
    """Leaves those that still wait to whoever claims them next, at once."""
    async with database.jobs() as connection:
        await connection.execute(_QUERIES["release"], {"keys": [alert.key for alert in alerts]})


async def forget_alerts(database: Database, alerts: Sequence[ReportAlert]) -> None:
    """The log has them."""
    async with database.jobs() as connection:
        await connection.execute(_QUERIES["forget"], {"keys": [alert.key for alert in alerts]})
