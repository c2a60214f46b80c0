"""Schedules of reports: made over HTTP, and looked at by schedulers at times that the test says."""

from __future__ import annotations

import datetime as dt
from typing import Any

from jobs.report_schedules import make_due
from storage.report_schedules import ReportDue, list_dues
from tests.integration.api_service import Api, Reply

SCHEDULES = "/api/v1/report-schedules"
DAILY: dict[str, Any] = {
    "name": "Daily figures",
    "type": "performance",
    "format": "json",
    "cron": "30 2 * * *",
    "tz": "Europe/Berlin",
    "recipients": [{"kind": "store"}],
}


def at(text: str) -> dt.datetime:
    """A moment in UTC."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


async def schedule(api: Api, *, headers: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """A schedule that was made."""
    reply = await api.request("POST", SCHEDULES, json={**DAILY, **more}, headers=headers)
    return schedule_of(reply, 201)


def schedule_of(reply: Reply, status: int = 200) -> dict[str, Any]:
    assert reply.status == status, reply.text
    found: dict[str, Any] = reply.json["schedule"]
    return found


async def look(api: Api, now: str) -> int:
    """How many reports a scheduler makes that looks at a time."""
    return await make_due(api.services.database, now=at(now))


async def dues(api: Api, id_: str) -> list[ReportDue]:
    """What came of its due times, the earliest first."""
    found = await list_dues(api.services.database, api.organization, id_, created_by=None, limit=2_000, offset=0)  # type: ignore[arg-type]
    assert found is not None
    return list(found[1])[::-1]


async def noted(api: Api, id_: str) -> list[str]:
    """The same in short: the local times, those that were missed with a `-` before them."""
    return [
        ("-" if due.status == "missed" else "") + due.period.isoformat(timespec="minutes")
        for due in await dues(api, id_)
    ]
