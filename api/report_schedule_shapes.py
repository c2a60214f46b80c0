"""Schedules of reports and their due times as they are shown."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec
from aiohttp import web

from aggregators import calendar
from aggregators.relative_days import RelativeDays
from api.report_requests import ReportFormat, ReportKind
from api.report_schedule_fields import Narrowing, upcoming
from api.reports import download_url
from api.services import services
from storage.report_recipients import Recipient
from storage.report_schedules import ReportDue, ReportSchedule

SHOWN = 3
"""Due times that a schedule is shown with, before now and after."""


class ShownDue(msgspec.Struct):
    """A due time that is over, in the schedule's zone; `period` is its local time, of which there is one report at most.

    `report` names the report that was made, as long as it is kept; `download_url` as that of a report. `reason` says why it was missed.
    """

    period: str
    due_at: dt.datetime
    status: Literal["made", "missed"]
    reason: str | None
    report: UUID | None
    report_status: Literal["queued", "running", "succeeded", "failed", "cancelled"] | None
    error: str | None
    file_name: str | None
    download_url: str | None


class ShownSchedule(msgspec.Struct):
    """A schedule. `next_due`: the next three due times, `last`: the last three; `paused_reason`: why, where nobody paused it on purpose.

    `own_trades`: its reports are of its maker's own trades alone.
    """

    id: UUID
    name: str
    type: ReportKind
    format: ReportFormat
    cron: str
    tz: str
    days: RelativeDays
    filters: dict[str, list[str]]
    starting_equity: dict[str, Decimal]
    appendix: int | None
    own_trades: bool
    recipients: list[Recipient]
    paused: bool
    paused_reason: str | None
    created_by: str
    created_at: dt.datetime
    updated_at: dt.datetime
    next_due: list[dt.datetime]
    last: list[ShownDue]


class OneSchedule(ShownSchedule):
    """A schedule with the secret by which a webhook's receiver knows that it is ours."""

    webhook_secret: str


def shown_fields(request: web.Request, schedule: ReportSchedule, last: list[ReportDue]) -> dict[str, Any]:
    """The fields of a schedule as it is shown."""
    narrowing = msgspec.json.decode(schedule.parameters, type=Narrowing)
    return {
        **{field: getattr(schedule, field) for field in ShownSchedule.__struct_fields__ if hasattr(schedule, field)},
        "filters": narrowing.filters,
        "starting_equity": narrowing.starting_equity,
        "appendix": None if narrowing.appendix is msgspec.UNSET else narrowing.appendix,
        "own_trades": schedule.own is not None,
        "recipients": msgspec.json.decode(schedule.recipients, type=list[Recipient]),
        "next_due": upcoming(schedule, services(request).now(), SHOWN),
        "last": [shown_due(request, schedule, due) for due in last],
    }


def shown_due(request: web.Request, schedule: ReportSchedule, due: ReportDue) -> ShownDue:
    """A due time as the caller is shown it, who may see the schedule."""
    try:
        at = due.due_at.astimezone(calendar.zone(schedule.tz))
    except calendar.UnknownZone:
        at = due.due_at
    ready = due.report is not None and due.report_status == "succeeded"
    return ShownDue(
        period=due.period.isoformat(timespec="minutes"),
        due_at=at,
        status=due.status,  # type: ignore[arg-type]
        reason=due.reason,
        report=due.report,
        report_status=due.report_status,  # type: ignore[arg-type]
        error=due.error,
        file_name=due.file_name,
        download_url=download_url(request, due.report) if ready and due.report is not None else None,
    )
