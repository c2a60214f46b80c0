"""`GET /api/v1/enterprise/metrics`: an organization's reported figures over a range, exact, each by the rule of docs/figures.md."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from aggregators.definitions.enterprise import ENTERPRISE_METRICS
from api import ranges
from api.auth.principal import caller
from api.dashboard import ENTERPRISE_FIGURES
from api.freshness import RECEIVED, fresh, same_minute
from api.routing import Route, json_answer, parse_query
from api.services import services
from storage.database import Database
from storage.feed import watermark
from storage.rollup_query import Question, ask

_OPERATIONAL = {shown: (metric, "avg") for shown, metric in ENTERPRISE_FIGURES.items()}
_BUSINESS = {
    "totalComparisons": ("total_comparisons", "last"),
    "activeUsers": ("active_users", "last"),
    "modelsUploaded": ("models_uploaded", "last"),
    "revenueGenerated": ("revenue_generated", "last"),
    "costSavings": ("cost_savings", "last"),
    "customerSatisfaction": ("customer_satisfaction", "avg"),
}
_TEAMS = {
    "databaseOperations": (
        "database",
        {
            "queriesPerSecond": ("queries_per_second", "avg"),
            "averageResponseTime": ("average_response_time", "avg"),
            "errorRate": ("error_rate", "avg"),
        },
    ),
    "mlOperations": (
        "ml",
        {
            "modelsDeployed": ("models_deployed", "sum"),
            "inferenceRequests": ("inference_requests", "sum"),
            "averageAccuracy": ("average_accuracy", "avg"),
        },
    ),
    "backendOperations": (
        "backend",
        {
            "apiRequests": ("api_requests", "sum"),
            "averageResponseTime": ("average_response_time", "avg"),
            "uptime": ("uptime", "avg"),
        },
    ),
}
_MEASURES = ("avg", "sum", "last")


class EnterpriseQuery(msgspec.Struct, kw_only=True):
    """`organization_id`: the caller's, or another one that they may act for; by default the caller's.

    `timeRange`: 24h (the last 24 hours), 7d, 30d or 90d (local days, today included). `tz`: whose days; by default the organization's.
    """

    organization_id: str | None = None
    time_range: ranges.DashboardRange = msgspec.field(name="timeRange", default="30d")
    tz: ranges.Zone | None = None


class EnterpriseMetrics(msgspec.Struct, rename="camel"):
    """Figures by name; null where nobody reported one in the range. Means have at most 18 decimals, all others every digit."""

    operational_metrics: dict[str, Any]
    business_metrics: dict[str, Any]
    team_performance: dict[str, dict[str, Any]]
    as_of: dt.datetime = msgspec.field(name="as_of")


async def enterprise_metrics(request: web.Request) -> web.StreamResponse:
    """Means, sums and last values of what was reported in the range."""
    parameters, parts = parse_query(request, EnterpriseQuery), services(request)
    # Who names an organization acts for it by now: see Route.organization.
    found = await enterprise_figures(parts.database, caller(request).organization, parts.now(), parameters)
    return fresh(json_answer(found), found.as_of, request, until=same_minute(request[RECEIVED]))


async def enterprise_figures(
    database: Database, organization: UUID, now: dt.datetime, parameters: EnterpriseQuery
) -> EnterpriseMetrics:
    """Reads every figure in one snapshot. Raises Problem 400."""
    teams = ("", *(team for team, _ in _TEAMS.values()))
    metrics = {*_wanted(_OPERATIONAL), *_wanted(_BUSINESS)}.union(*(_wanted(figures) for _, figures in _TEAMS.values()))
    async with database.read(organization) as connection:
        mark = await watermark(connection, "enterprise")
        tz = ranges.asked_zone(parameters.tz, mark.time_zone)
        start, end = ranges.dashboard_range(parameters.time_range, tz, now, "1m")
        question = Question(
            ENTERPRISE_METRICS,
            _MEASURES,
            start,
            end,
            group_by=("team_type", "metric"),
            filters={"metric": tuple(sorted(metrics)), "team_type": teams},
        )
        rows = (await ask(connection, question)).rows
    found = {(team, metric): dict(zip(_MEASURES, values, strict=True)) for team, metric, *values in rows}
    return EnterpriseMetrics(
        operational_metrics=_shown(found, "", _OPERATIONAL),
        business_metrics=_shown(found, "", _BUSINESS),
        team_performance={shown: _shown(found, team, figures) for shown, (team, figures) in _TEAMS.items()},
        as_of=mark.as_of,
    )


def _wanted(figures: Mapping[str, tuple[str, str]]) -> set[str]:
    return {metric for metric, _ in figures.values()}


def _shown(
    found: Mapping[tuple[str, str], Mapping[str, Any]], team: str, figures: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    return {shown: found.get((team, metric), {}).get(measure) for shown, (metric, measure) in figures.items()}


ROUTES = [
    Route(
        "GET",
        "/api/v1/enterprise/metrics",
        enterprise_metrics,
        "An organization's figures over a range",
        query=EnterpriseQuery,
        answer=EnterpriseMetrics,
        tags=("dashboard",),
        kinds=("enterprise",),
        organization="organization_id",
    ),
]
