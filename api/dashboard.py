"""`GET /api/v1/dashboard/stats`: the figures of ModelCompare's dashboard, each from the source that docs/figures.md names."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from aiohttp import web

from aggregators import calendar
from aggregators.definitions.enterprise import ENTERPRISE_METRICS
from api.auth.principal import caller
from api.freshness import ALWAYS, fresh, same_minute
from api.routing import Route, json_answer, parse_query
from api.services import services
from storage.dashboard import last_of_enterprise, last_of_hosts
from storage.database import Database
from storage.feed import watermark
from storage.rollup_query import Question, ask

HEARD_WITHIN = dt.timedelta(minutes=5)
"""A host that was not heard for longer is not in the figures over hosts."""

_SYSTEM_METRICS = {
    "cpuUsage": "cpu_usage",
    "gpuUsage": "gpu_usage",
    "memoryUsage": "memory_usage",
    "networkLatency": "network_latency",
    "activeConnections": "active_connections",
}
_LIVE_SYSTEM = {
    "queueLength": "queue_length",
    "systemLoad": "system_load",
    "carbonFootprint": "carbon_footprint",
    "energyConsumption": "energy_consumption",
    "uptime": "uptime",
    "responseTime": "response_time",
    "errorRate": "error_rate",
}
_SUMMED = frozenset(
    {"active_connections", "queue_length", "carbon_footprint", "energy_consumption", "requests_per_second"}
)
_SUSTAINABILITY = {
    "totalCarbonSaved": "total_carbon_saved",
    "greenScore": "green_score",
    "energyEfficiency": "energy_efficiency",
    "renewableEnergyUsage": "renewable_energy_usage",
    "carbonOffset": "carbon_offset",
}
_COMPARISONS = {"totalComparisons": "total_comparisons", "modelsCompared": "models_compared"}
_AVERAGES = {"averageAccuracy": "model_accuracy", "averageSpeed": "processing_speed"}
ENTERPRISE_FIGURES = {
    "modelAccuracy": "model_accuracy",
    "processingSpeed": "processing_speed",
    "systemUptime": "system_uptime",
    "successRate": "success_rate",
    "responseTime": "response_time",
    "queueLength": "queue_length",
    "concurrentComparisons": "concurrent_comparisons",
    "dataThroughput": "data_throughput",
}
"""ModelCompare's operational figures and the metric of `enterprise` events that each comes from."""


class StatsQuery(msgspec.Struct):
    """`host` narrows the figures over hosts; hosts are separated by commas."""

    host: str | None = None


class DashboardStats(msgspec.Struct, rename="camel"):
    """Figures by name; one that nobody has sent yet is null."""

    system_metrics: dict[str, Any]
    live_stats: dict[str, Any]
    sustainability: dict[str, Any]
    comparison_stats: dict[str, Any]
    enterprise_metrics: dict[str, Any]
    as_of: dt.datetime = msgspec.field(name="as_of")


class StatsFound(NamedTuple):
    """The figures, and until when they stay so if no event comes."""

    stats: DashboardStats
    until: dt.datetime


async def stats(request: web.Request) -> web.StreamResponse:
    """The dashboard's figures, over all hosts heard in the last five minutes."""
    parameters = parse_query(request, StatsQuery)
    parts = services(request)
    hosts = parameters.host.split(",") if parameters.host else None
    found = await dashboard_stats(parts.database, caller(request).organization, parts.now(), hosts)
    return fresh(json_answer(found.stats), found.stats.as_of, request, until=found.until)


async def dashboard_stats(
    database: Database, organization: UUID, now: dt.datetime, hosts: list[str] | None
) -> StatsFound:
    """Reads every figure in one snapshot. Its cost does not depend on the number of events."""
    system = [*_SYSTEM_METRICS.values(), *_LIVE_SYSTEM.values()]
    levels = ["concurrent_comparisons", *_SUSTAINABILITY.values(), *_COMPARISONS.values(), *ENTERPRISE_FIGURES.values()]
    async with database.read(organization) as connection:
        mark = await watermark(connection, "system", "enterprise")
        heard = await last_of_hosts(connection, now - HEARD_WITHIN, hosts, system)
        last = await last_of_enterprise(connection, levels)
        utc = calendar.zone("UTC")
        averages = await ask(
            connection,
            Question(
                ENTERPRISE_METRICS,
                ("avg",),
                calendar.floor(now - dt.timedelta(hours=24), "1m", utc),
                calendar.ceil(now, "1m", utc),
                group_by=("metric",),
                filters={"metric": tuple(_AVERAGES.values()), "team_type": ("",)},
            ),
        )
    mean = dict(averages.rows)
    live = over_hosts((metric, value) for metric, value, _ in heard)
    # Without a commit the figures change when the next value is older than five minutes, or the day of the means moves on.
    silent = min((time for *_, time in heard), default=ALWAYS - HEARD_WITHIN) + HEARD_WITHIN
    stats = DashboardStats(
        system_metrics=_named(_SYSTEM_METRICS, live),
        live_stats={"activeComparisons": last.get("concurrent_comparisons"), **_named(_LIVE_SYSTEM, live)},
        sustainability=_named(_SUSTAINABILITY, last),
        comparison_stats={**_named(_COMPARISONS, last), **_named(_AVERAGES, mean)},
        enterprise_metrics=_named(ENTERPRISE_FIGURES, last),
        as_of=mark.as_of,
    )
    return StatsFound(stats, min(silent, same_minute(now)))


def over_hosts(rows: Iterable[tuple[str, float]]) -> dict[str, float]:
    """One figure a metric from the hosts' last values: their mean, or their sum for what adds up."""
    values: dict[str, list[float]] = {}
    for metric, value in rows:
        values.setdefault(metric, []).append(value)
    return {m: _whole(sum(found)) if m in _SUMMED else sum(found) / len(found) for m, found in values.items()}


def _whole(value: float) -> float:
    """A sum of counts as the whole number that it is."""
    return int(value) if value.is_integer() else value


def _named(names: dict[str, str], values: dict[str, Any]) -> dict[str, Any]:
    return {shown: values.get(metric) for shown, metric in names.items()}


ROUTES = [
    Route(
        "GET",
        "/api/v1/dashboard/stats",
        stats,
        "ModelCompare's dashboard",
        query=StatsQuery,
        answer=DashboardStats,
        tags=("dashboard",),
        kinds=("system", "enterprise"),
    ),
]
