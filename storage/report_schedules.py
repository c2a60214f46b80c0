"""Schedules of reports as those who make them see them: added, changed, listed, deleted; and what came of their due times."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from storage.audit import Actor
from storage.database import AsyncConn, Database
from storage.named import load
from storage.notices import REPORT_SCHEDULED

_QUERIES = load("report_schedules")

MOST_SCHEDULES = 100
"""Schedules of an organization, paused ones among them."""


class TooManySchedules(Exception):
    """The organization has as many schedules as it may."""


class RightsChanged(Exception):
    """Who asks is not what they were taken to be in the organization any more."""


@dataclass(frozen=True)
class Maker:
    """What who asks is taken to be: `name` stands in their schedules; a person has an account, a key its prefix."""

    name: str
    role: Literal["admin", "owner", "member", "key"]
    account: UUID | None
    key: str | None


@dataclass(frozen=True)
class ReportSchedule:
    """A schedule. `parameters` and `recipients` are JSON; `own` as in a run.

    Due times after `since` are not decided yet; `next_at` is the first of them, None while it is paused. `paused_reason` says why, where
    nobody paused it on purpose. `secret` signs what is posted to webhooks.
    """

    id: UUID
    name: str
    type: str
    format: str
    cron: str
    tz: str
    days: str
    parameters: str
    own: list[str] | None
    recipients: str
    secret: bytes
    paused: bool
    paused_reason: str | None
    created_by: str
    created_at: dt.datetime
    updated_at: dt.datetime
    since: dt.datetime
    next_at: dt.datetime | None


@dataclass(frozen=True)
class ReportDue:
    """A due time that is over: `period` is its local time. `report` is None where it was missed, or is not kept any more."""

    schedule: UUID
    period: dt.datetime
    due_at: dt.datetime
    status: str
    reason: str | None
    report: UUID | None
    report_status: str | None
    error: str | None
    file_name: str | None


async def add_schedule(
    database: Database, organization: UUID, schedule: ReportSchedule, by: Actor, maker: Maker
) -> None:
    """Stores a schedule and tells the schedulers. Raises TooManySchedules, RightsChanged."""
    async with database.write(organization) as connection:
        await connection.execute(_QUERIES["lock"])
        await _require(connection, maker)
        if await _count(connection, "living", {}) >= MOST_SCHEDULES:
            raise TooManySchedules(f"an organization has at most {MOST_SCHEDULES} schedules; delete one first")
        await connection.execute(_QUERIES["add"], asdict(schedule))
        await _note(
            connection, "schedule.create", by, schedule.id, name=schedule.name, cron=schedule.cron, tz=schedule.tz
        )
        await _tell(connection, organization)


async def change_schedule(
    database: Database,
    organization: UUID,
    schedule: UUID,
    change: Callable[[ReportSchedule], ReportSchedule],
    by: Actor,
    maker: Maker,
    *,
    created_by: str | None,
) -> ReportSchedule | None:
    """What `change` makes of it; None where there is none made by that one (None: by anybody). What `change` raises undoes it.

    Raises RightsChanged.
    """
    values = {"id": schedule, "created_by": created_by}
    async with database.write(organization) as connection:
        await _require(connection, maker)
        async with connection.cursor(row_factory=class_row(ReportSchedule)) as cursor:
            await cursor.execute(_QUERIES["held"], values)
            before = await cursor.fetchone()
        if before is None:
            return None
        after = change(before)
        old, new = asdict(before), asdict(after)
        # Recipients may hold secrets in their addresses: which fields were changed is told, not to what.
        changed = sorted(
            name for name in new if new[name] != old[name] and name not in ("since", "next_at", "updated_at")
        )
        if changed:
            await connection.execute(_QUERIES["change"], new)
            await _note(connection, "schedule.change", by, schedule, name=after.name, fields=changed)
            await _tell(connection, organization)
        return after if changed else before


async def delete_schedule(
    database: Database, organization: UUID, schedule: UUID, by: Actor, *, created_by: str | None
) -> bool:
    """Whether there was one made by that one (None: by anybody); its reports stay, its due times go."""
    async with database.write(organization) as connection:
        values = {"id": schedule, "created_by": created_by}
        gone = await (await connection.execute(_QUERIES["delete"], values)).fetchone()
        if gone is None:
            return False
        await _note(connection, "schedule.delete", by, schedule, name=gone[0])
        return True


async def report_schedule(
    database: Database, organization: UUID, schedule: UUID, *, created_by: str | None, last: int
) -> tuple[ReportSchedule, list[ReportDue]] | None:
    """A schedule with its latest due times, where there is one made by that one (None: by anybody)."""
    async with database.read(organization) as connection:
        async with connection.cursor(row_factory=class_row(ReportSchedule)) as cursor:
            await cursor.execute(_QUERIES["one"], {"id": schedule, "created_by": created_by})
            found = await cursor.fetchone()
        if found is None:
            return None
        return found, await _dues(connection, "latest_dues", {"schedules": [schedule], "limit": last})


async def list_schedules(
    database: Database, organization: UUID, *, created_by: str | None, limit: int, offset: int, last: int
) -> tuple[list[tuple[ReportSchedule, list[ReportDue]]], int]:
    """The schedules from place `offset` on, the newest first, each with its latest due times; and how many there are in all."""
    values: dict[str, Any] = {"created_by": created_by, "limit": limit, "offset": offset}
    async with database.read(organization) as connection:
        async with connection.cursor(row_factory=class_row(ReportSchedule)) as cursor:
            await cursor.execute(_QUERIES["page"], values)
            found = await cursor.fetchall()
        total = await _count(connection, "count", values)
        dues: dict[UUID, list[ReportDue]] = {one.id: [] for one in found}
        for due in await _dues(connection, "latest_dues", {"schedules": list(dues), "limit": last}):
            dues[due.schedule].append(due)
    return [(one, dues[one.id]) for one in found], total


async def list_dues(
    database: Database, organization: UUID, schedule: UUID, *, created_by: str | None, limit: int, offset: int
) -> tuple[ReportSchedule, Sequence[ReportDue], int] | None:
    """A schedule, its due times from place `offset` on, the latest first, and how many there are in all; None where there is none."""
    async with database.read(organization) as connection:
        async with connection.cursor(row_factory=class_row(ReportSchedule)) as cursor:
            await cursor.execute(_QUERIES["one"], {"id": schedule, "created_by": created_by})
            found = await cursor.fetchone()
        if found is None:
            return None
        values = {"schedule": schedule, "limit": limit, "offset": offset}
        return found, await _dues(connection, "dues", values), await _count(connection, "count_dues", values)


async def _require(connection: AsyncConn, maker: Maker) -> None:
    """Credentials are looked at before a request, and a schedule goes on after it. Raises RightsChanged."""
    values = asdict(maker)
    await connection.execute(_QUERIES["lock_maker"], values)
    # The deployment's admin need not be a member.
    if maker.role == "admin":
        return
    row = await (await connection.execute(_QUERIES["standing"], values)).fetchone()
    if row is None or not row[0]:
        raise RightsChanged


async def _dues(connection: AsyncConn, name: str, values: dict[str, Any]) -> list[ReportDue]:
    async with connection.cursor(row_factory=class_row(ReportDue)) as cursor:
        await cursor.execute(_QUERIES[name], values)
        return await cursor.fetchall()


async def _count(connection: AsyncConn, name: str, values: dict[str, Any]) -> int:
    row = await (await connection.execute(_QUERIES[name], values)).fetchone()
    assert row is not None
    return int(row[0])


async def _note(connection: AsyncConn, action: str, by: Actor, schedule: UUID, **details: Any) -> None:
    values = {
        "happened_at": by.now,
        "action": action,
        "account": by.account,
        "actor": by.name,
        "subject": str(schedule),
        "address": by.address,
        "details": Jsonb(details),
    }
    await connection.execute(_QUERIES["note"], values)


async def _tell(connection: AsyncConn, organization: UUID) -> None:
    await connection.execute(_QUERIES["tell"], {"channel": REPORT_SCHEDULED, "id": organization})
