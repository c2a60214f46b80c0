"""`GET /api/v1/metrics`: OpsSight's live figures of an organization's hosts, under the names its front end reads."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.principal import caller
from api.dashboard import HEARD_WITHIN, over_hosts
from api.freshness import fresh
from api.routing import Route, json_answer
from api.services import services
from storage.dashboard import last_of_hosts
from storage.database import Database
from storage.feed import watermark

_FIGURES = {
    "cpu_usage": "cpu_usage",
    "memory_usage": "memory_usage",
    "gpu_usage": "gpu_usage",
    "network_latency": "network_latency",
    "active_connections": "active_connections",
    "requests_per_second": "requests_per_second",
    "error_rate": "error_rate",
    "response_time_ms": "response_time",
}
"""The metric of `system` events that each figure comes from."""


class LiveMetrics(msgspec.Struct, kw_only=True):
    """Of the last values of the hosts heard in the last five minutes: the mean, of connections and requests the sum.

    Percentages are in %, times in ms; what nobody sent is null. `cache_hit_rate` is this service's own.
    """

    cpu_usage: float | None
    memory_usage: float | None
    gpu_usage: float | None
    network_latency: float | None
    active_connections: float | None
    cache_hit_rate: float | None
    requests_per_second: float | None
    error_rate: float | None
    response_time_ms: float | None
    as_of: dt.datetime


async def metrics_now(request: web.Request) -> web.StreamResponse:
    """The caller's organization's hosts, as they are now."""
    parts = services(request)
    found = await live_metrics(parts.database, caller(request).organization, parts.now(), parts.cache_hit_rate)
    return fresh(json_answer(found), found.as_of, request)


async def live_metrics(
    database: Database, organization: UUID, now: dt.datetime, cache_hit_rate: Callable[[], float | None] | None
) -> LiveMetrics:
    """Reads the figures in one snapshot."""
    async with database.read(organization) as connection:
        mark = await watermark(connection, "system")
        rows = await last_of_hosts(connection, now - HEARD_WITHIN, None, list(_FIGURES.values()))
    values = over_hosts((metric, value) for metric, value, _ in rows)
    figures = {shown: values.get(metric) for shown, metric in _FIGURES.items()}
    return LiveMetrics(**figures, cache_hit_rate=cache_hit_rate() if cache_hit_rate else None, as_of=mark.as_of)


ROUTES = [
    Route(
        "GET",
        "/api/v1/metrics",
        metrics_now,
        "OpsSight's live figures",
        answer=LiveMetrics,
        tags=("dashboard",),
        kinds=("system",),
    ),
]
