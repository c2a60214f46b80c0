"""The shapes that ModelCompare, OpsSight and the video feed read, to the field, and where each is read.

TradeFlow's are in test_trade_shapes, those of the WebSockets in test_socket_pushes.
"""

# ruff: noqa: N815  (the names are the front ends')

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec

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


def held(text: bytes, shape: Any) -> Any:
    """The answer as its shape; raises where it is another."""
    return msgspec.convert(json.loads(text, parse_float=Decimal), shape)
