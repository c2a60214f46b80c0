"""What ModelCompare, OpsSight and the video feed read, to the field: with figures, and before anybody sent one.

TradeFlow's shapes are in test_trade_shapes, those of the WebSockets in test_socket_pushes.
"""

# ruff: noqa: N815  (the names are the front ends')

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec
import pytest

from tests.integration.api_service import Api, another

Figure = int | Decimal
Known = Figure | None
"""Null where nobody sent it."""


class Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A shape that has these fields and no other."""


def figures(*names: str) -> type[msgspec.Struct]:
    """An object of these figures."""
    return msgspec.defstruct("Figures", [(name, Known) for name in names], kw_only=True, forbid_unknown_fields=True)


SYSTEM = figures("cpuUsage", "gpuUsage", "memoryUsage", "networkLatency", "activeConnections")
LIVE = figures(
    "activeComparisons",
    "queueLength",
    "systemLoad",
    "carbonFootprint",
    "energyConsumption",
    "uptime",
    "responseTime",
    "errorRate",
)
GREEN = figures("totalCarbonSaved", "greenScore", "energyEfficiency", "renewableEnergyUsage", "carbonOffset")
COMPARED = figures("totalComparisons", "modelsCompared", "averageAccuracy", "averageSpeed")
OPERATIONAL = figures(
    "modelAccuracy",
    "processingSpeed",
    "systemUptime",
    "successRate",
    "responseTime",
    "queueLength",
    "concurrentComparisons",
    "dataThroughput",
)
BUSINESS = figures(
    "totalComparisons", "activeUsers", "modelsUploaded", "revenueGenerated", "costSavings", "customerSatisfaction"
)
DATABASE = figures("queriesPerSecond", "averageResponseTime", "errorRate")
MODELS = figures("modelsDeployed", "inferenceRequests", "averageAccuracy")
BACKEND = figures("apiRequests", "averageResponseTime", "uptime")


class StatsShape(Strict):
    """ModelCompare's GET /dashboard/stats."""

    systemMetrics: SYSTEM  # type: ignore[valid-type]
    liveStats: LIVE  # type: ignore[valid-type]
    sustainability: GREEN  # type: ignore[valid-type]
    comparisonStats: COMPARED  # type: ignore[valid-type]
    enterpriseMetrics: OPERATIONAL  # type: ignore[valid-type]
    as_of: datetime


class DatasetShape(Strict):
    label: str
    data: list[Known]


class ChartShape(Strict):
    labels: list[str]
    datasets: list[DatasetShape]


class AnalyticsShape(Strict):
    """ModelCompare's GET /dashboard/analytics."""

    performanceData: ChartShape
    comparisonTrends: ChartShape
    tz: str
    as_of: datetime


class TeamsShape(Strict):
    databaseOperations: DATABASE  # type: ignore[valid-type]
    mlOperations: MODELS  # type: ignore[valid-type]
    backendOperations: BACKEND  # type: ignore[valid-type]


class EnterpriseShape(Strict):
    """ModelCompare's GET /enterprise/metrics."""

    operationalMetrics: OPERATIONAL  # type: ignore[valid-type]
    businessMetrics: BUSINESS  # type: ignore[valid-type]
    teamPerformance: TeamsShape
    as_of: datetime


class LiveShape(Strict):
    """OpsSight's GET /api/v1/metrics."""

    cpu_usage: Known
    memory_usage: Known
    gpu_usage: Known
    network_latency: Known
    active_connections: Known
    cache_hit_rate: Known
    requests_per_second: Known
    error_rate: Known
    response_time_ms: Known
    as_of: datetime


class DeploymentShape(Strict):
    id: UUID
    service: str
    version: str
    environment: str
    status: Literal["pending", "running", "succeeded", "failed", "rolled_back"]
    started_at: datetime
    finished_at: datetime | None


class DeploymentsShape(Strict):
    """OpsSight's GET /api/v1/deployments."""

    deployments: list[DeploymentShape]
    total: int
    page: int
    limit: int


class HealthShape(Strict):
    """OpsSight's GET /health."""

    status: Literal["ok"]
    database: Literal["ok"]


class DetailedShape(Strict):
    """OpsSight's GET /health/detailed: every part by itself."""

    status: Literal["ok"]
    database: dict[str, Any]
    log: dict[str, Any]
    workers: list[Any]
    dead_letters: dict[str, Any]
    cache: dict[str, Any] | None
    scheduler: dict[str, Any]
    disk: dict[str, Any] | None
    archive: dict[str, Any] | None


class LevelShape(Strict):
    hits: int
    misses: int
    hit_rate: Known


class MemoryShape(LevelShape):
    entries: int
    bytes: int
    evictions: int


class CacheShape(Strict):
    """OpsSight's GET /cache/metrics."""

    memory: MemoryShape
    redis: None
    overall: LevelShape
    invalidations: int
    as_of: datetime


class TimesShape(Strict):
    p50: Known
    p95: Known
    p99: Known


class PerformanceShape(Strict):
    """OpsSight's GET /api/performance."""

    uptime_seconds: Known
    requests_total: int | None
    requests_per_second: Known
    error_rate: Known
    response_time_ms: TimesShape
    routes: list[dict[str, Any]]
    configuration: dict[str, Any]
    as_of: datetime | None


class RankedShape(Strict):
    rank: int
    previous_rank: int | None
    creator_id: str
    username: str
    score: Figure
    views: int
    likes: int
    dislikes: int
    videos: int
    last_active_at: datetime


class BoardShape(Strict):
    """GET /api/v1/leaderboards/creators."""

    as_of: datetime
    window: Literal["24h", "7d", "30d", "all"]
    entries: list[RankedShape]


class TopShape(Strict):
    """The video feed's UserProfile, and its place."""

    id: str
    username: str
    email: str | None
    videosCreated: int
    totalLikes: int
    totalDislikes: int
    totalViews: int
    lastActiveAt: datetime
    createdAt: datetime | None
    rank: int
    creator_score: Figure


class AnswerShape(Strict):
    """GET /api/v1/query."""

    as_of: datetime
    rollup: str
    grain: str | None
    from_: datetime = msgspec.field(name="from")
    to: datetime
    tz: str
    columns: list[str]
    rows: list[list[Any]]
    cursor: str | None


SHAPES: dict[str, Any] = {
    "/api/v1/dashboard/stats": StatsShape,
    **{f"/api/v1/dashboard/analytics?timeRange={asked}": AnalyticsShape for asked in ("24h", "7d", "30d", "90d")},
    **{f"/api/v1/enterprise/metrics?timeRange={asked}": EnterpriseShape for asked in ("24h", "7d", "30d", "90d")},
    "/api/v1/metrics": LiveShape,
    "/api/v1/deployments": DeploymentsShape,
    "/health": HealthShape,
    "/health/detailed": DetailedShape,
    "/cache/metrics": CacheShape,
    "/api/performance": PerformanceShape,
    "/users/top?limit=10": list[TopShape],
    **{f"/api/v1/leaderboards/creators?window={asked}": BoardShape for asked in ("24h", "7d", "30d", "all")},
    "/api/v1/query?rollup=system_metrics&measures=avg,p95&group_by=host&grain=1h": AnswerShape,
}
TRADES = ("/metrics", "/reports/pnl", "/analytics/trades?group_by=symbol&recent=5", "/analytics/strategies")


def held(text: bytes, shape: Any) -> Any:
    """The answer as its shape; raises where it is another."""
    return msgspec.convert(json.loads(text, parse_float=Decimal), shape)


@pytest.fixture
async def filled(api: Api) -> Api:
    """Something of everything."""
    now = api.clock.now
    names = ("model_accuracy", "processing_speed", "total_comparisons", "revenue_generated", "customer_satisfaction")
    teams = {
        "database": {"queries_per_second": 150, "error_rate": 0.1},
        "ml": {"models_deployed": 23, "average_accuracy": 89.2},
        "backend": {"api_requests": 5000, "uptime": 99.9},
    }
    await api.send(
        [
            api.system("web", now, cpu_usage=74.79, memory_usage=79.38, active_connections=14, response_time=245),
            *(api.enterprise(now - timedelta(days=back), **dict.fromkeys(names, 89.25)) for back in (0, 1, 20, 80)),
            *(api.enterprise(now, team, **values) for team, values in teams.items()),
            api.trade(now, "12.5"),
            api.view("view"),
            api.view("like", creator_id="another", video_id="other"),
        ]
    )
    body = {"service": "web", "version": "1", "environment": "production", "status": "succeeded"}
    assert (await api.request("POST", "/api/v1/deployments", json=body)).status == 201
    return api


async def test_an_answer_has_the_documented_fields_and_no_other(filled: Api) -> None:
    found: dict[str, Any] = {}
    for path, shape in SHAPES.items():
        reply = await filled.request("GET", path)
        assert reply.status == 200, (path, reply.text)
        found[path] = held(reply.body, shape)
    assert found["/api/v1/dashboard/stats"].systemMetrics.cpuUsage == Decimal("74.79")
    year = found["/api/v1/dashboard/analytics?timeRange=90d"].performanceData
    assert (len(year.labels), [len(dataset.data) for dataset in year.datasets]) == (90, [90, 90])
    assert found["/api/v1/enterprise/metrics?timeRange=90d"].teamPerformance.mlOperations.modelsDeployed == 23
    assert found["/api/v1/metrics"].response_time_ms == 245
    assert found["/api/v1/deployments"].total == 1
    assert [one.id for one in found["/users/top?limit=10"]] == ["another", "creator"]
    assert len(found["/api/v1/leaderboards/creators?window=24h"].entries) == 2


@pytest.fixture
async def empty(api: Api) -> AsyncIterator[Api]:
    """Somebody of an organization that was made a moment ago, in a zone at :45."""
    async with another(api, f"Empty {api.organization}", time_zone="Asia/Kathmandu") as fresh:
        yield fresh


async def test_before_anybody_sent_anything_every_endpoint_answers_with_nothing(empty: Api) -> None:
    for path, shape in SHAPES.items():
        reply = await empty.request("GET", path)
        assert reply.status == 200, (path, reply.text)
        found = held(reply.body, shape)
        match found:
            case StatsShape() | EnterpriseShape() | LiveShape():
                known = {name for name, value in leaves(msgspec.to_builtins(found)) if value is not None}
                assert known <= {"as_of", "cache_hit_rate"}, path
            case AnalyticsShape():
                for chart in (found.performanceData, found.comparisonTrends):
                    assert len(chart.labels) in (7, 24, 30, 90)
                    assert [dataset.data for dataset in chart.datasets] == [[None] * len(chart.labels)] * len(
                        chart.datasets
                    )
            case DeploymentsShape():
                assert (found.deployments, found.total) == ([], 0)
            case BoardShape():
                assert found.entries == []
            case AnswerShape():
                assert (found.rows, found.cursor) == ([], None)
            case list():
                assert found == []


async def test_before_the_first_trade_there_are_days_and_no_figures(empty: Api) -> None:
    for asked in ("24h", "7d", "365d", "all"):
        for path in TRADES:
            join = "&" if "?" in path else "?"
            reply = await empty.request("GET", f"/api/unify/v1{path}{join}time_range={asked}")
            assert reply.status == 200, (path, reply.text)
            found = reply.json
            total = found.get("total") or found
            assert total.get("trades", total.get("totalTrades")) == 0
            assert total.get("net", total.get("totalPnL")) == 0
            assert not found.get("series")
            assert not found.get("strategies")
            assert not found.get("groups")
            if "daily" in found:
                assert {(day["net"], day["trades"]) for day in found["daily"]} == {(0, 0)}
                assert found["drawdown"] is found["statistics"]["profit_factor"] is None


def leaves(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Every figure with its name."""
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, key)]
    return [(name, value)]
