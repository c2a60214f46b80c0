"""`GET /api/v1/dashboard/analytics`: ModelCompare's charts, by the hours or days of the reader's zone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web

from aggregators import calendar
from aggregators.definitions.enterprise import ENTERPRISE_METRICS
from api import ranges
from api.auth.principal import caller
from api.freshness import RECEIVED, fresh, same_minute
from api.routing import Route, json_answer, parse_query
from api.services import services
from storage.dashboard import last_of_enterprise_before
from storage.database import AsyncConn, Database
from storage.feed import watermark
from storage.rollup_query import Question, ask, exact_difference

_PERFORMANCE = {"model_accuracy": "Accuracy (%)", "processing_speed": "Speed (FPS)"}
_TOTAL = "total_comparisons"


class AnalyticsQuery(msgspec.Struct, kw_only=True):
    """`timeRange`: 24h (by hour), 7d, 30d or 90d (by day, today included). `tz`: whose; by default the organization's zone."""

    time_range: ranges.DashboardRange = msgspec.field(name="timeRange", default="7d")
    tz: ranges.Zone | None = None


class Dataset(msgspec.Struct):
    """One series of a chart: a value for each label, null where nothing was reported."""

    label: str
    data: list[Any]


class ChartData(msgspec.Struct):
    """What Chart.js draws.

    A label is a local date, or a local hour as `2026-03-10T14:00`; an hour that the clocks strike twice has its offset, as in
    `2026-10-25T02:00+02:00`.
    """

    labels: list[str]
    datasets: list[Dataset]


class DashboardAnalytics(msgspec.Struct, rename="camel"):
    """`performanceData`: means of the reports in a bucket. `comparisonTrends`: by how much the reported total rose in it."""

    performance_data: ChartData
    comparison_trends: ChartData
    tz: str
    as_of: dt.datetime = msgspec.field(name="as_of")


async def analytics(request: web.Request) -> web.StreamResponse:
    """Every bucket of the range has its label, whatever was reported in it."""
    parameters, parts = parse_query(request, AnalyticsQuery), services(request)
    found = await dashboard_analytics(parts.database, caller(request).organization, parts.now(), parameters)
    return fresh(json_answer(found), found.as_of, request, until=same_minute(request[RECEIVED]))


async def dashboard_analytics(
    database: Database, organization: UUID, now: dt.datetime, parameters: AnalyticsQuery
) -> DashboardAnalytics:
    """Reads both charts in one snapshot. Raises Problem 400."""
    grain = "1h" if parameters.time_range == "24h" else "1d"
    async with database.read(organization) as connection:
        mark = await watermark(connection, "enterprise")
        tz = ranges.asked_zone(parameters.tz, mark.time_zone)
        start, end = ranges.dashboard_range(parameters.time_range, tz, now, grain)
        buckets = list(calendar.buckets(start, end, grain, tz))
        means = await _by_bucket(connection, "avg", tuple(_PERFORMANCE), start, end, grain, tz)
        totals = await _by_bucket(connection, "last", (_TOTAL,), start, end, grain, tz)
        before = await last_of_enterprise_before(connection, _TOTAL, start)
    labels = [bucket_label(bucket, grain, tz) for bucket in buckets]
    performance = [
        Dataset(label, [means.get((bucket, metric)) for bucket in buckets]) for metric, label in _PERFORMANCE.items()
    ]
    comparisons = Dataset("Comparisons", increases(before, (totals.get((bucket, _TOTAL)) for bucket in buckets)))
    return DashboardAnalytics(ChartData(labels, performance), ChartData(labels, [comparisons]), tz.key, mark.as_of)


async def _by_bucket(
    connection: AsyncConn,
    measure: str,
    metrics: tuple[str, ...],
    start: dt.datetime,
    end: dt.datetime,
    grain: str,
    tz: ZoneInfo,
) -> dict[tuple[dt.datetime, str], Any]:
    """One figure of the whole organization's reports by bucket and metric."""
    filters: dict[str, tuple[str, ...]] = {"metric": metrics, "team_type": ("",)}
    question = Question(ENTERPRISE_METRICS, (measure,), start, end, grain, tz, ("metric",), filters)
    rows = (await ask(connection, question)).rows
    return {(time.astimezone(dt.UTC), metric): value for time, metric, value in rows}


def bucket_label(start: dt.datetime, grain: str, tz: ZoneInfo) -> str:
    """The local date or hour that begins then; with its offset where there are two of that name."""
    local = start.astimezone(tz)
    if grain == "1d":
        return local.date().isoformat()
    twice = local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset()
    return (local if twice else local.replace(tzinfo=None)).isoformat(timespec="minutes")


def increases(before: Any, levels: Iterable[Any]) -> list[Any]:
    """By how much a total rose to each of these levels from the last one known; None for a bucket without a level.

    A level below the last one is that of a counter which began again at zero, so all of it is new. What the first one ever reported
    has risen by nobody knows.
    """
    risen: list[Any] = []
    for level in levels:
        if level is None or before is None:
            risen.append(None)
        else:
            risen.append(exact_difference(level, before) if level >= before else level)
        before = before if level is None else level
    return risen


ROUTES = [
    Route(
        "GET",
        "/api/v1/dashboard/analytics",
        analytics,
        "ModelCompare's charts",
        query=AnalyticsQuery,
        answer=DashboardAnalytics,
        tags=("dashboard",),
        kinds=("enterprise",),
    ),
]
