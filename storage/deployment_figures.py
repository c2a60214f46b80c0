"""Figures of the deployments that started in a time: how many, how they ended, of which services, on which days, and the latest ones."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from psycopg.rows import class_row

from storage.database import AsyncConn
from storage.deployments import Deployment
from storage.named import load

_QUERIES = load("deployments")


@dataclass(frozen=True)
class DeploymentFigures:
    """Those of a service, or of all (None). `seconds`: the mean duration of those that are over; None where none is."""

    service: str | None
    deployments: int
    succeeded: int
    failed: int
    rolled_back: int
    unfinished: int
    seconds: Decimal | None
    last_started_at: dt.datetime | None
    services: int

    @property
    def over(self) -> int:
        """Those that have ended, however."""
        return self.succeeded + self.failed + self.rolled_back


@dataclass(frozen=True)
class DeploymentsWithin:
    """Those that started in a time. `ever`: whether the organization has recorded any at all, whenever."""

    ever: bool
    whole: DeploymentFigures
    by_service: list[DeploymentFigures]
    latest: list[Deployment]
    by_day: Mapping[tuple[int, str], int]
    """How many, by the number of the day (from 0) and the status."""


async def deployments_within(
    connection: AsyncConn, start: dt.datetime, end: dt.datetime, *, days: Sequence[dt.datetime], limit: int
) -> DeploymentsWithin:
    """Those that started from `start` on and before `end`, of the transaction's organization. `days` are the days' beginnings, in order.

    The services with the most, and the latest deployments, are at most `limit` each.
    """
    values: dict[str, Any] = {"start": start, "end": end, "limit": limit, "days": list(days)}
    async with connection.cursor(row_factory=class_row(DeploymentFigures)) as cursor:
        await cursor.execute(_QUERIES["figures"], values)
        whole, *by_service = await cursor.fetchall()
    async with connection.cursor(row_factory=class_row(Deployment)) as listing:
        await listing.execute(_QUERIES["latest"], values)
        latest = await listing.fetchall()
    by_day = {}
    if days:
        for day, status, count in await (await connection.execute(_QUERIES["by_day"], values)).fetchall():
            by_day[day - 1, status] = count
    ever = await (await connection.execute(_QUERIES["ever"])).fetchone()
    assert ever is not None
    return DeploymentsWithin(ever[0], whole, by_service, latest, by_day)


async def deployments_count(connection: AsyncConn, start: dt.datetime, end: dt.datetime) -> int:
    """How many started in a time."""
    row = await (await connection.execute(_QUERIES["figures"], {"start": start, "end": end, "limit": 0})).fetchone()
    assert row is not None
    return int(row[1])
