"""`GET /api/performance`: OpsSight's figures of this API, all its processes together, read back from what they published."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from aggregators import calendar
from aggregators.definitions.api_requests import API_REQUESTS
from api.freshness import fresh
from api.health import admit_operations
from api.request_telemetry import REQUESTS_TOTAL, UPTIME
from api.routing import Route, json_answer
from api.services import services
from storage.dashboard import last_by_host
from storage.database import Database
from storage.feed import watermark
from storage.rollup_query import Question, ask

WINDOW = dt.timedelta(minutes=5)
"""What the figures are of: the minute that was begun so long ago, up to now."""

MOST_ROUTES = 500


class ResponseTimes(msgspec.Struct):
    """Percentiles in ms, within 1 %; null without requests."""

    p50: float | None
    p95: float | None
    p99: float | None


class RoutePerformance(msgspec.Struct):
    """One route in the window. `error_rate`: answers with a status of 500 or above, in %. Percentiles in ms, within 1 %."""

    method: str
    route: str
    count: int
    error_rate: float
    p50: float
    p95: float
    p99: float


class ApiPerformance(msgspec.Struct):
    """The API over the last five minutes. `uptime_seconds`: of the process that runs longest; `requests_total`: what the processes
    that are heard have answered since they started. `error_rate` in %. What nobody published is null.
    """

    uptime_seconds: float | None
    requests_total: int | None
    requests_per_second: float | None
    error_rate: float | None
    response_time_ms: ResponseTimes
    routes: list[RoutePerformance]
    configuration: dict[str, Any]
    as_of: dt.datetime | None


async def performance(request: web.Request) -> web.StreamResponse:
    """The same from every process: it is read from the rollups. A request is in it some ten seconds later."""
    admit_operations(request)
    parts = services(request)
    if parts.own_organization is None:
        return json_answer(_silent(dict(parts.configuration)))
    found = await api_performance(parts.database, parts.own_organization, parts.now())
    found.configuration = {**parts.configuration, **found.configuration}
    assert found.as_of is not None
    return fresh(json_answer(found), found.as_of, request)


async def api_performance(database: Database, organization: UUID, now: dt.datetime) -> ApiPerformance:
    """Reads it in one snapshot; `configuration` has only how many processes are heard and how long the window is."""
    start = calendar.floor(now - WINDOW, "1m", calendar.zone("UTC"))
    end = calendar.ceil(now, "1m", calendar.zone("UTC"))
    async with database.read(organization) as connection:
        mark = await watermark(connection, "system")
        heard = await last_by_host(connection, start, None, [REQUESTS_TOTAL, UPTIME])
        processes = sorted({host for host, *_ in heard})
        figures = ("requests", "error_rate", "p50", "p95", "p99")
        question = Question(API_REQUESTS, figures, start, end, filters={"host": tuple(processes)}, limit=MOST_ROUTES)
        total = await ask(connection, question)
        by_route = await ask(connection, replace(question, group_by=("method", "route")))
    found = _silent({"workers": len(processes), "window_seconds": int(WINDOW.total_seconds())})
    found.as_of = mark.as_of
    if processes:
        found.uptime_seconds = max((value for _, metric, value, _ in heard if metric == UPTIME), default=None)
        found.requests_total = int(sum(value for _, metric, value, _ in heard if metric == REQUESTS_TOTAL))
        found.requests_per_second = 0.0
    for requests, error_rate, *percentiles in total.rows:
        found.requests_per_second = requests / (now - start).total_seconds()
        found.error_rate = error_rate
        found.response_time_ms = ResponseTimes(*percentiles)
    routes = [RoutePerformance(*row) for row in by_route.rows]
    found.routes = sorted(routes, key=lambda route: (-route.count, route.route, route.method))
    return found


def _silent(configuration: dict[str, Any]) -> ApiPerformance:
    """What is known where no process is heard."""
    return ApiPerformance(None, None, None, None, ResponseTimes(None, None, None), [], configuration, None)


ROUTES = [
    Route(
        "GET",
        "/api/performance",
        performance,
        "How fast this API answers",
        scope=None,
        answer=ApiPerformance,
        tags=("operations",),
        errors=(401, 503),
    ),
]
