"""Reports on demand: asked for, waited for, listed, cancelled, downloaded. The jobs make them (jobs/report_runs.py)."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.principal import caller
from api.entered import read_json
from api.errors import Problem
from api.paging import PageQuery
from api.report_links import check_signature, signed_path
from api.report_requests import (
    EnterpriseReportQuery,
    NewReport,
    ReportDays,
    ReportFormat,
    Seconds,
    StoredParameters,
    checked_request,
    sees_only,
)
from api.report_waiting import RUN_WAITERS
from api.routing import Route, json_answer, parse_query
from api.services import services
from storage.report_runs import (
    ReportRequest,
    ReportRun,
    TooManyRuns,
    ask_for_report,
    cancel_report_run,
    list_report_runs,
    report_file,
    report_run,
)

PATH = "/api/v1/reports"
IN_FLIGHT = ("queued", "running")
ReportStep = Literal["queued", "reading", "rendering", "storing", "succeeded", "failed", "cancelled"]


class ReportData(msgspec.Struct):
    """What a report says in short: `metrics` by name (those of a currency under its code), and what rules recommend."""

    summary: str
    metrics: msgspec.Raw
    recommendations: msgspec.Raw
    as_of: dt.datetime


class ShownReport(msgspec.Struct):
    """A report and how far it is. `data` and `download_url` are null until it succeeded; in a list `data` always is.

    `step` is the status, but of a running one what its maker is at: reading the figures, rendering the file, or storing it.
    `download_url` is good for 15 minutes and needs no credential; each answer has a new one.
    """

    id: UUID
    type: str
    format: ReportFormat
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    step: ReportStep
    period: ReportDays
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    generated_at: dt.datetime | None
    data: ReportData | None
    download_url: str | None
    file_name: str | None
    size: int | None
    error: str | None


class ReportAnswer(msgspec.Struct):
    """One report."""

    report: ShownReport


class ReportPage(msgspec.Struct):
    """A page of reports, the newest first. `total`: how many there are on all pages."""

    reports: list[ShownReport]
    total: int
    page: int
    limit: int


class WaitQuery(msgspec.Struct, kw_only=True):
    """`wait`: seconds to wait until the report is over, 0 to 10."""

    wait: Seconds = 0


class AskQuery(msgspec.Struct, kw_only=True):
    """`wait`: seconds to wait for the report, 0 to 10."""

    wait: Seconds = 10


class DownloadQuery(msgspec.Struct, kw_only=True):
    """As they stand in `download_url`."""

    organization: UUID
    expires: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
    signature: str


async def enterprise_report(request: web.Request) -> web.StreamResponse:
    """The report; 202 and where to ask again while it is made, the reason where it cannot be."""
    given = parse_query(request, EnterpriseReportQuery)
    first = last = None
    if given.date_range is not None:
        first, comma, last = given.date_range.partition(",")
        if not comma:
            detail = "date_range: expected the first and the last day, as 2026-01-01,2026-03-31"
            raise Problem(400, detail, parameter="date_range")
    asked = NewReport(type=given.report_type, format=given.format, first=first, last=last, tz=given.tz)
    named = ("date_range", "date_range")
    return await _made(request, await checked_request(request, asked, named=named, wrong=400), given.wait)


async def new_report(request: web.Request) -> web.StreamResponse:
    """The same for every parameter that a report has."""
    wait, asked = parse_query(request, AskQuery).wait, await read_json(request, NewReport)
    return await _made(request, await checked_request(request, asked, named=("from", "to"), wrong=422), wait)


async def listed_reports(request: web.Request) -> web.StreamResponse:
    """The organization's reports, a page at a time; a member's own."""
    page, principal = parse_query(request, PageQuery), caller(request)
    found, total = await list_report_runs(
        services(request).database,
        principal.organization,
        requested_by=sees_only(principal),
        limit=page.limit,
        offset=page.offset,
    )
    return json_answer(ReportPage([shown_report(request, run) for run in found], total, page.page, page.limit))


async def one_report(request: web.Request) -> web.StreamResponse:
    """How far it is; with what it says, or why it failed."""
    wait = parse_query(request, WaitQuery).wait
    return json_answer(ReportAnswer(shown_report(request, await _waited(request, report_id(request), wait))))


async def cancelled_report(request: web.Request) -> web.StreamResponse:
    """Cancels it and answers with it; 409 where it was over before. Cancelled again it stays cancelled."""
    run, principal, parts = report_id(request), caller(request), services(request)
    await cancel_report_run(
        parts.database, principal.organization, run, requested_by=sees_only(principal), now=parts.now()
    )
    found = await _waited(request, run, 0)
    if found.status != "cancelled":
        raise Problem(409, f"the report has {found.status}")
    return json_answer(ReportAnswer(shown_report(request, found)))


async def download(request: web.Request) -> web.StreamResponse:
    """The file. The signature is all the permission that is needed."""
    given, run, parts = parse_query(request, DownloadQuery), report_id(request), services(request)
    check_signature(parts.download_key, given.organization, run, given.expires, given.signature, parts.now())
    found = await report_file(parts.database, given.organization, run)
    if found is None:
        raise Problem(404, "there is no report with this id any more")
    return web.Response(
        body=found.artefact,
        content_type=found.content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{found.file_name}"',
            "Cache-Control": "private, no-store",
            "X-Content-Type-Options": "nosniff",
            "ETag": f'"{found.sha256.hex()}"',
        },
    )


async def _made(request: web.Request, asked: ReportRequest, wait: int) -> web.StreamResponse:
    """The answer to a request for a report. Raises Problem where it failed."""
    principal, parts = caller(request), services(request)
    try:
        id_ = await ask_for_report(parts.database, principal.organization, asked, now=parts.now())
    except TooManyRuns as error:
        raise Problem(429, str(error), headers={"Retry-After": "10"}) from None
    run = await _waited(request, id_, wait)
    there = {"Location": f"{PATH}/{run.id}"}
    if run.status == "failed":
        assert run.error_status is not None
        raise Problem(run.error_status, run.error or "", headers=there)
    if run.status == "cancelled":
        raise Problem(409, "the report was cancelled", headers=there)
    answer = ReportAnswer(shown_report(request, run))
    if run.status in IN_FLIGHT:
        return json_answer(answer, status=202, headers={**there, "Retry-After": "1"})
    return json_answer(answer, headers=there)


async def _waited(request: web.Request, id_: UUID, seconds: int) -> ReportRun:
    """The run once it is over, or as it is after so many seconds. Raises Problem 404."""
    principal, parts = caller(request), services(request)
    deadline = asyncio.get_running_loop().time() + seconds
    with request.app[RUN_WAITERS].waiting(id_) as moved:
        late = seconds == 0
        while True:
            # Who is told of its end after this looks again; no connection is held meanwhile.
            moved.clear()
            run = await report_run(parts.database, principal.organization, id_, requested_by=sees_only(principal))
            if run is None:
                raise Problem(404, "there is no report with this id")
            if late or run.status not in IN_FLIGHT:
                return run
            try:
                async with asyncio.timeout_at(deadline):
                    await moved.wait()
            except TimeoutError:
                late = True


def step_of(status: str, said: str | None) -> ReportStep:
    """The step of a run with this status, whose maker said that. One that has not said anything yet has begun to read."""
    return (said or "reading") if status == "running" else status  # type: ignore[return-value]


def report_id(request: web.Request) -> UUID:
    """The report that the path names. Raises Problem 404."""
    try:
        return UUID(request.match_info["id"])
    except ValueError:
        raise Problem(404, "there is no report with this id") from None


def download_url(request: web.Request, run: UUID) -> str:
    """Where a run's file is for the next while, for whoever may see the run."""
    parts = services(request)
    base = parts.public_url or f"{request.scheme}://{request.host}"
    return base.rstrip("/") + signed_path(parts.download_key, caller(request).organization, run, parts.now())


def shown_report(request: web.Request, run: ReportRun) -> ShownReport:
    """A run as the caller is shown it."""
    url = download_url(request, run.id) if run.status == "succeeded" else None
    days = msgspec.json.decode(run.parameters, type=StoredParameters)
    return ShownReport(
        id=run.id,
        type=run.type,
        format=msgspec.convert(run.format, ReportFormat),
        status=run.status,  # type: ignore[arg-type]
        step=step_of(run.status, run.step),
        period=ReportDays(days.first, days.last, days.tz),
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        generated_at=run.generated_at,
        data=None if run.summary is None else msgspec.json.decode(run.summary, type=ReportData),
        download_url=url,
        file_name=run.file_name,
        size=run.size,
        error=run.error,
    )


_TAGS = ("reports",)
_UNDER_WAY = {202: {"application/json": ReportAnswer}}
ROUTES = [
    Route(
        "GET",
        "/api/v1/enterprise/reports",
        enterprise_report,
        "A report of an organization, made on demand",
        query=EnterpriseReportQuery,
        answer=ReportAnswer,
        also=_UNDER_WAY,
        tags=_TAGS,
        errors=(409, 422, 429, 500, 504),
        organization="organization_id",
    ),
    Route(
        "POST",
        PATH,
        new_report,
        "Ask for a report",
        query=AskQuery,
        body=NewReport,
        answer=ReportAnswer,
        also=_UNDER_WAY,
        tags=_TAGS,
        errors=(409, 413, 415, 422, 429, 500, 504),
    ),
    Route("GET", PATH, listed_reports, "Reports that were asked for", query=PageQuery, answer=ReportPage, tags=_TAGS),
    Route(
        "GET",
        PATH + "/{id}",
        one_report,
        "How far a report is",
        query=WaitQuery,
        answer=ReportAnswer,
        tags=_TAGS,
        errors=(404,),
    ),
    Route(
        "DELETE",
        PATH + "/{id}",
        cancelled_report,
        "Cancel a report",
        answer=ReportAnswer,
        tags=_TAGS,
        errors=(404, 409),
    ),
    Route(
        "GET",
        PATH + "/{id}/download",
        download,
        "A report's file",
        scope=None,
        anonymous=True,
        query=DownloadQuery,
        media="application/octet-stream",
        tags=_TAGS,
        errors=(403, 404),
    ),
]
