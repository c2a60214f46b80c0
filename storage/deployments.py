"""Deployments of services: recorded, changed and listed; whoever listens is told of every change."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from storage.database import AsyncConn, Database
from storage.named import load
from storage.notices import DEPLOYMENTS

_QUERIES = load("deployments")


@dataclass(frozen=True)
class Deployment:
    """One deployment. `finished_at` is None while it is pending or running."""

    id: UUID
    service: str
    version: str
    environment: str
    status: str
    started_at: dt.datetime
    finished_at: dt.datetime | None


@dataclass(frozen=True)
class DeploymentFilter:
    """Which deployments: those with these values; None stands for any."""

    service: str | None = None
    environment: str | None = None
    status: str | None = None


async def record_deployment(
    database: Database,
    organization: UUID,
    *,
    id_: UUID | None,
    service: str,
    version: str,
    environment: str,
    status: str,
    started_at: dt.datetime,
    finished_at: dt.datetime | None,
) -> tuple[Deployment, bool]:
    """The deployment, and whether it is new: one that has the id already is left and returned as it is."""
    values = {
        "id": id_,
        "service": service,
        "version": version,
        "environment": environment,
        "status": status,
        "started_at": started_at,
        "finished_at": finished_at,
    }
    async with database.write(organization) as connection:
        made = await _one(connection, "record", values)
        if made is not None:
            await _tell(connection)
            return made, True
        known = await _one(connection, "one", values)
    assert known is not None
    return known, False


async def change_deployment(
    database: Database, organization: UUID, deployment: UUID, change: Callable[[Deployment], Deployment]
) -> Deployment | None:
    """What `change` makes of its status and end; None where there is none of that id. What `change` raises undoes nothing but itself."""
    async with database.write(organization) as connection:
        before = await _one(connection, "held", {"id": deployment})
        if before is None:
            return None
        after = change(before)
        if after != before:
            values = {"id": deployment, "status": after.status, "finished_at": after.finished_at}
            await connection.execute(_QUERIES["change"], values)
            await _tell(connection)
        return after


async def list_deployments(
    database: Database, organization: UUID, wanted: DeploymentFilter, *, limit: int, offset: int = 0
) -> tuple[list[Deployment], int]:
    """Those from place `offset` on, the newest start first, and how many there are in all; in one snapshot."""
    values: dict[str, Any] = {**vars(wanted), "limit": limit, "offset": offset}
    async with database.read(organization) as connection:
        async with connection.cursor(row_factory=class_row(Deployment)) as cursor:
            await cursor.execute(_QUERIES["page"], values)
            found = await cursor.fetchall()
        row = await (await connection.execute(_QUERIES["count"], values)).fetchone()
    assert row is not None
    return found, row[0]


async def newest_deployments(database: Database, organization: UUID, limit: int) -> list[Deployment]:
    """The newest ones, for who shows them live."""
    found, _ = await list_deployments(database, organization, DeploymentFilter(), limit=limit)
    return found


async def _one(connection: AsyncConn, name: str, values: dict[str, Any]) -> Deployment | None:
    async with connection.cursor(row_factory=class_row(Deployment)) as cursor:
        await cursor.execute(_QUERIES[name], values)
        return await cursor.fetchone()


async def _tell(connection: AsyncConn) -> None:
    await connection.execute(_QUERIES["tell"], {"channel": DEPLOYMENTS})
