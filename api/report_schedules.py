"""`/api/v1/report-schedules`: reports made at their times, and what came of each. The jobs make them (jobs/report_schedules.py)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.acting import acting
from api.auth.principal import caller
from api.auth.sign_in import NO_STORE
from api.entered import read_json
from api.errors import Problem
from api.organizations.refusals import path_id
from api.paging import PageQuery
from api.report_requests import requester, sees_only
from api.report_schedule_fields import NewSchedule, ScheduleChange, changed_schedule, made_schedule
from api.report_schedule_shapes import SHOWN, OneSchedule, ShownDue, ShownSchedule, shown_due, shown_fields
from api.routing import Route, json_answer, parse_query
from api.services import services
from storage import report_schedules as store
from storage.feed import watermark
from storage.report_schedules import Maker, ReportDue, ReportSchedule, RightsChanged, TooManySchedules

PATH = "/api/v1/report-schedules"


class ScheduleAnswer(msgspec.Struct):
    """One schedule."""

    schedule: OneSchedule


class SchedulePage(msgspec.Struct):
    """A page of schedules, the newest first. `total`: how many there are on all pages."""

    schedules: list[ShownSchedule]
    total: int
    page: int
    limit: int


class DuePage(msgspec.Struct):
    """A page of a schedule's due times, the latest first. `total`: how many there are on all pages."""

    runs: list[ShownDue]
    total: int
    page: int
    limit: int


async def new_schedule(request: web.Request) -> web.StreamResponse:
    """201 and the schedule."""
    given, principal, parts = await read_json(request, NewSchedule), caller(request), services(request)
    async with parts.database.read(principal.organization) as connection:
        zone = (await watermark(connection)).time_zone
    made = made_schedule(given, principal, zone, parts.now())
    with _refusals_told():
        await store.add_schedule(parts.database, principal.organization, made, acting(request), _maker(request))
    return _answer(request, made, [], status=201, headers={"Location": f"{PATH}/{made.id}"})


async def listed_schedules(request: web.Request) -> web.StreamResponse:
    """The organization's schedules, a page at a time; a member's own."""
    page, principal, parts = parse_query(request, PageQuery), caller(request), services(request)
    found, total = await store.list_schedules(
        parts.database,
        principal.organization,
        created_by=sees_only(principal),
        limit=page.limit,
        offset=page.offset,
        last=SHOWN,
    )
    shown = [ShownSchedule(**shown_fields(request, schedule, last)) for schedule, last in found]
    return json_answer(SchedulePage(shown, total, page.page, page.limit), headers=NO_STORE)


async def one_schedule(request: web.Request) -> web.StreamResponse:
    """The schedule, when it is due next, and what came of the last times."""
    return _answer(request, *await _found(request))


async def patched_schedule(request: web.Request) -> web.StreamResponse:
    """The schedule as it is now."""
    given, principal, parts = await read_json(request, ScheduleChange), caller(request), services(request)
    with _refusals_told():
        await store.change_schedule(
            parts.database,
            principal.organization,
            _id(request),
            lambda before: changed_schedule(before, given, principal, parts.now()),
            acting(request),
            _maker(request),
            created_by=sees_only(principal),
        )
    return _answer(request, *await _found(request))


async def deleted_schedule(request: web.Request) -> web.StreamResponse:
    """204. Reports that it made stay as long as others do."""
    principal = caller(request)
    if not await store.delete_schedule(
        services(request).database,
        principal.organization,
        _id(request),
        acting(request),
        created_by=sees_only(principal),
    ):
        raise _none()
    return web.Response(status=204)


async def listed_runs(request: web.Request) -> web.StreamResponse:
    """What came of every due time, a page at a time."""
    page, principal, parts = parse_query(request, PageQuery), caller(request), services(request)
    found = await store.list_dues(
        parts.database,
        principal.organization,
        _id(request),
        created_by=sees_only(principal),
        limit=page.limit,
        offset=page.offset,
    )
    if found is None:
        raise _none()
    schedule, dues, total = found
    shown = [shown_due(request, schedule, due) for due in dues]
    return json_answer(DuePage(shown, total, page.page, page.limit), headers=NO_STORE)


async def _found(request: web.Request) -> tuple[ReportSchedule, list[ReportDue]]:
    principal = caller(request)
    found = await store.report_schedule(
        services(request).database,
        principal.organization,
        _id(request),
        created_by=sees_only(principal),
        last=SHOWN,
    )
    if found is None:
        raise _none()
    return found


def _answer(
    request: web.Request,
    schedule: ReportSchedule,
    last: list[ReportDue],
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> web.Response:
    secret = "whsec_" + base64.b64encode(schedule.secret).decode()
    shown = OneSchedule(**shown_fields(request, schedule, last), webhook_secret=secret)
    return json_answer(ScheduleAnswer(shown), status=status, headers={**NO_STORE, **(headers or {})})


def _maker(request: web.Request) -> Maker:
    principal = caller(request)
    return Maker(requester(principal), principal.role, principal.account, principal.key)


@contextmanager
def _refusals_told() -> Iterator[None]:
    """Turns what the store refuses into Problem 403, 409."""
    try:
        yield
    except TooManySchedules as error:
        raise Problem(409, str(error)) from None
    except RightsChanged:
        raise Problem(403, "what you may do in the organization was changed; ask again") from None


def _id(request: web.Request) -> UUID:
    found = path_id(request, "id")
    if found is None:
        raise _none()
    return found


def _none() -> Problem:
    return Problem(404, "there is no schedule with this id")


_TAGS = ("reports",)
_WRITTEN = (400, 409, 413, 415, 422)
ROUTES = [
    Route(
        "POST",
        PATH,
        new_schedule,
        "Have a report made at its times",
        body=NewSchedule,
        answer=ScheduleAnswer,
        status=201,
        tags=_TAGS,
        errors=_WRITTEN,
    ),
    Route("GET", PATH, listed_schedules, "Schedules of reports", query=PageQuery, answer=SchedulePage, tags=_TAGS),
    Route(
        "GET",
        PATH + "/{id}",
        one_schedule,
        "A schedule, when it is due and what it made",
        answer=ScheduleAnswer,
        tags=_TAGS,
        errors=(404,),
        identifiers=True,
    ),
    Route(
        "PATCH",
        PATH + "/{id}",
        patched_schedule,
        "Change a schedule",
        body=ScheduleChange,
        answer=ScheduleAnswer,
        tags=_TAGS,
        errors=(400, 404, 413, 415, 422),
        identifiers=True,
    ),
    Route(
        "DELETE",
        PATH + "/{id}",
        deleted_schedule,
        "Delete a schedule",
        status=204,
        tags=_TAGS,
        errors=(404,),
        identifiers=True,
    ),
    Route(
        "GET",
        PATH + "/{id}/runs",
        listed_runs,
        "What came of a schedule's due times",
        query=PageQuery,
        answer=DuePage,
        tags=_TAGS,
        errors=(404,),
        identifiers=True,
    ),
]
