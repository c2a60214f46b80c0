"""What a schedule of reports can be made of and changed to, and what of it is refused: every error names its field."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Collection, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any
from uuid import uuid4

import msgspec

from aggregators import calendar, cron
from aggregators.relative_days import RelativeDays
from api.auth.principal import Principal
from api.entered import checked_address, checked_name, checked_zone
from api.errors import Problem
from api.report_requests import (
    Appendix,
    Equity,
    Filters,
    Name,
    ReportFormat,
    ReportKind,
    check_narrowing,
    requester,
)
from api.routing import described
from api.shown_text import web_address_from
from api.visibility import own_trades
from storage.report_recipients import MOST_RECIPIENTS, Mail, Recipient, Webhook
from storage.report_schedules import ReportSchedule

CronText = Annotated[str, described("0 7 * * 1-5", "@weekly")]
Recipients = Annotated[list[Recipient], msgspec.Meta(min_length=1, max_length=MOST_RECIPIENTS)]


class NewSchedule(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A report to be made again and again. `cron`: five fields, or a shorthand such as @daily, read in `tz`, which is the organization's by
    default. `days`: which days the report is of, seen from the day on which it is due. The last three are for a P&L statement, as in a
    request for a report.
    """

    name: str
    type: ReportKind
    format: ReportFormat = "pdf"
    cron: CronText
    tz: Name | None = None
    days: RelativeDays = "yesterday"
    recipients: Recipients
    paused: bool = False
    filters: Filters = {}
    starting_equity: Equity = {}
    appendix: Appendix | None = None


class ScheduleChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fields that change; the others stay. Lists and `filters` are replaced as a whole."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    type: ReportKind | msgspec.UnsetType = msgspec.UNSET
    format: ReportFormat | msgspec.UnsetType = msgspec.UNSET
    cron: CronText | msgspec.UnsetType = msgspec.UNSET
    tz: Name | msgspec.UnsetType = msgspec.UNSET
    days: RelativeDays | msgspec.UnsetType = msgspec.UNSET
    recipients: Recipients | msgspec.UnsetType = msgspec.UNSET
    paused: bool | msgspec.UnsetType = msgspec.UNSET
    filters: Filters | msgspec.UnsetType = msgspec.UNSET
    starting_equity: Equity | msgspec.UnsetType = msgspec.UNSET
    appendix: Appendix | msgspec.UnsetType | None = msgspec.UNSET


class Narrowing(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What narrows the reports of a schedule, as it is stored; the job that makes one reads it with its days."""

    filters: Mapping[str, list[str]] = {}
    starting_equity: Mapping[str, Decimal] = {}
    appendix: int | msgspec.UnsetType = msgspec.UNSET


def made_schedule(given: NewSchedule, principal: Principal, zone: str, now: dt.datetime) -> ReportSchedule:
    """The schedule that the caller asks for; `zone` is the organization's. Raises Problem 403, 422."""
    own = own_trades(principal)
    tz = checked_zone(given.tz or zone, "tz")
    return ReportSchedule(
        id=uuid4(),
        name=checked_name(given.name),
        type=given.type,
        format=given.format,
        cron=_cron(given.cron, tz, now),
        tz=tz,
        days=given.days,
        parameters=_narrowing(given.type, given.filters, given.starting_equity, given.appendix, own),
        own=None if own is None else list(own),
        recipients=_recipients(given.recipients),
        secret=secrets.token_bytes(32),
        paused=given.paused,
        paused_reason=None,
        created_by=requester(principal),
        created_at=now,
        updated_at=now,
        since=now,
        next_at=None if given.paused else _next(given.cron, tz, now),
    )


def changed_schedule(
    before: ReportSchedule, given: ScheduleChange, principal: Principal, now: dt.datetime
) -> ReportSchedule:
    """The schedule with what changes in it. Raises Problem 403, 422.

    A member's stays narrowed to their own trades whoever changes it; what a member changes is narrowed to theirs. Who ends a pause that
    the loss of its maker's rights made takes it over. After other times or a pause only due times from now on count.
    """
    values = {name: value for name, value in msgspec.structs.asdict(given).items() if value is not msgspec.UNSET}
    names = own_trades(principal)
    own = before.own if names is None else list(names)
    kept = msgspec.json.decode(before.parameters, type=Narrowing)
    appendix = None if kept.appendix is msgspec.UNSET else kept.appendix
    kind = values.get("type", before.type)
    parameters = _narrowing(
        kind,
        values.get("filters", kept.filters),
        values.get("starting_equity", kept.starting_equity),
        values.get("appendix", appendix),
        own,
    )
    paused = values.get("paused", before.paused)
    tz = checked_zone(values["tz"], "tz") if "tz" in values else before.tz
    after = replace(
        before,
        name=checked_name(values["name"]) if "name" in values else before.name,
        type=kind,
        format=values.get("format", before.format),
        cron=_cron(values["cron"], tz, now) if "cron" in values else before.cron,
        tz=tz,
        days=values.get("days", before.days),
        parameters=parameters,
        own=own,
        recipients=_recipients(values["recipients"]) if "recipients" in values else before.recipients,
        paused=paused,
        updated_at=now,
    )
    if before.paused and not paused and before.paused_reason is not None:
        after = replace(after, paused_reason=None, created_by=requester(principal))
    if (after.cron, after.tz, after.paused) == (before.cron, before.tz, before.paused):
        return after
    return replace(after, since=now, next_at=None if paused else _next(after.cron, tz, now))


def upcoming(schedule: ReportSchedule, now: dt.datetime, number: int) -> list[dt.datetime]:
    """The next due times in the schedule's zone; none while it is paused, or where the zone is not known any more."""
    if schedule.paused:
        return []
    try:
        tz, expression = calendar.zone(schedule.tz), cron.parsed(schedule.cron)
    except (calendar.UnknownZone, cron.BadCron):
        return []
    return [due.astimezone(tz) for due, _ in zip(cron.due_after(expression, tz, now), range(number), strict=False)]


def _cron(text: str, tz: str, now: dt.datetime) -> str:
    """An expression that can be a schedule's, without blanks around it. Raises Problem 422."""
    try:
        if len(text) > 200:
            raise cron.BadCron("expected at most 200 characters")
        cron.parsed(text)
        if _next(text, tz, now) is None:
            raise cron.BadCron("is never due")
    except cron.BadCron as error:
        raise Problem(422, f"cron: {error}", parameter="cron") from None
    return text.strip()


def _next(text: str, tz: str, now: dt.datetime) -> dt.datetime | None:
    try:
        return next(cron.due_after(cron.parsed(text), calendar.zone(tz), now), None)
    except calendar.UnknownZone as error:
        raise Problem(422, f"tz: {error}", parameter="tz") from None


def _narrowing(
    kind: Any,
    filters: Mapping[str, list[str]],
    starting_equity: Mapping[str, Decimal],
    appendix: int | None,
    own: Collection[str] | None,
) -> str:
    check_narrowing(kind, dict(filters), starting_equity, appendix, own=own, wrong=422)
    stored = Narrowing(
        filters=filters, starting_equity=starting_equity, appendix=msgspec.UNSET if appendix is None else appendix
    )
    return msgspec.json.encode(stored, order="deterministic").decode()


def _recipients(given: list[Recipient]) -> str:
    """Recipients that can be reached, each once. Raises Problem 422."""
    found: list[Recipient] = []
    for place, one in enumerate(given):
        field = f"recipients[{place}]"
        if isinstance(one, Mail):
            one = Mail(checked_address(one.address, f"{field}.address"))
        elif isinstance(one, Webhook) and web_address_from(one.url) is None:
            raise Problem(422, f"{field}.url: expected an http or https address", parameter=f"{field}.url")
        if one in found:
            raise Problem(422, f"{field}: is there already", parameter=field)
        found.append(one)
    return msgspec.json.encode(found).decode()
