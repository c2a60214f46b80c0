"""`GET /api/v1/reports/{id}/progress`: how far a report is, as it comes further, until it is over."""

from __future__ import annotations

import asyncio
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.principal import Principal, caller
from api.errors import Problem
from api.report_requests import sees_only
from api.report_waiting import RUN_WAITERS, RunWaiters
from api.reports import IN_FLIGHT, PATH, ReportAnswer, ReportStep, report_id, shown_report, step_of
from api.routing import ENCODER, Route, parse_query
from api.services import Services, services
from api.stream.events_source import HEARTBEAT, EventSource, frame
from api.stream.readers import READERS, Reader
from api.stream.routes import serve
from storage.report_runs import report_run, run_progress

LOOK_S = 15.0
"""A notice may be lost: without one it is looked again after so long."""


class ReportProgress(msgspec.Struct):
    """How far a report is, the data of `event: progress`.

    `place`: of a queued one, its place in the organization's line, from 1. `fraction`: how much of the step is done, 0 to 1, where its
    maker can tell; else null.
    """

    step: ReportStep
    place: int | None
    fraction: float | None


class ProgressQuery(msgspec.Struct, kw_only=True):
    """`ticket`: from `POST /api/v1/stream/tickets`, for a browser that cannot send a header."""

    ticket: str | None = None


class ProgressStream:
    """One reader's stream. What it tells is read from the run's row; a notice only says when to look."""

    def __init__(self, source: EventSource, request: web.Request, run: UUID) -> None:
        self._source = source
        self._request = request
        self._run = run
        self._parts: Services = services(request)
        self._principal: Principal = caller(request)
        self._waiters: RunWaiters = request.config_dict[RUN_WAITERS]

    async def beat(self) -> None:
        """A comment, which tells both sides that the other is there."""
        await self._source.send(HEARTBEAT)

    async def run(self, reader: Reader) -> None:
        """Tells every change, and at last the report. Raises Gone, and Problem 404 where the report is deleted meanwhile."""
        told: bytes | None = None
        with self._waiters.following(self._run, self._principal.organization) as moved:
            while reader.open:
                # What moves on after this is looked at again; no connection to the database is held meanwhile.
                moved.clear()
                progress = await self._progress()
                if progress is None:
                    await self._source.send(frame("done", await self._report()))
                    return
                if progress != told:
                    told = progress
                    await self._source.send(frame("progress", progress))
                try:
                    async with asyncio.timeout(LOOK_S):
                        await moved.wait()
                except TimeoutError:
                    continue

    async def _progress(self) -> bytes | None:
        """How far it is; None where it is over."""
        async with self._parts.hub.asking:
            found = await run_progress(
                self._parts.database,
                self._principal.organization,
                self._run,
                requested_by=sees_only(self._principal),
            )
        if found is None:
            raise _unknown()
        if found.status not in IN_FLIGHT:
            return None
        queued = found.status == "queued"
        return ENCODER.encode(
            ReportProgress(
                step=step_of(found.status, found.step),
                place=found.place if queued else None,
                # A real of the database, as what it was written.
                fraction=None if queued or found.fraction is None else round(found.fraction, 2),
            )
        )

    async def _report(self) -> bytes:
        """The answer of `GET /api/v1/reports/{id}`."""
        async with self._parts.hub.asking:
            run = await report_run(
                self._parts.database,
                self._principal.organization,
                self._run,
                requested_by=sees_only(self._principal),
            )
        if run is None:
            raise _unknown()
        return ENCODER.encode(ReportAnswer(shown_report(self._request, run)))


async def progress(request: web.Request) -> web.StreamResponse:
    """`event: progress` with how far it is (`{"step", "place", "fraction"}`), at once and at every change; at last `event: done` with what
    `GET /api/v1/reports/{id}` answers, where the stream ends. Of a report that is over already `done` is all there is.
    """
    parse_query(request, ProgressQuery)
    principal, parts, run = caller(request), services(request), report_id(request)
    readers = request.config_dict[READERS]
    readers.require_room(principal)
    # Told before the stream opens, as a status.
    if await run_progress(parts.database, principal.organization, run, requested_by=sees_only(principal)) is None:
        raise _unknown()
    source = EventSource(request)
    await serve(source, ProgressStream(source, request, run), readers, parts, principal, "report")
    return source.response


def _unknown() -> Problem:
    return Problem(404, "there is no report with this id")


ROUTES = [
    Route(
        "GET",
        PATH + "/{id}/progress",
        progress,
        "Server-sent events: how far a report is",
        query=ProgressQuery,
        media="text/event-stream",
        tags=("reports", "streams"),
        errors=(404,),
    ),
]
