"""`/api/performance` and `/api/v1/metrics`: what API processes measure of themselves, published, counted and read back."""

from __future__ import annotations

import asyncio
import math
import random
from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest

from api.request_counts import RequestCounts
from api.request_telemetry import SPOOL_EVENTS, RequestTelemetry
from ingest.events import Event
from ingest.log import Batch
from tests.integration.api_service import NOON, Api, running

SHAPE = {
    "uptime_seconds",
    "requests_total",
    "requests_per_second",
    "error_rate",
    "response_time_ms",
    "routes",
    "configuration",
    "as_of",
}
ROUTE_SHAPE = {"method", "route", "count", "error_rate", "p50", "p95", "p99"}
LIVE_SHAPE = {
    "cpu_usage",
    "memory_usage",
    "gpu_usage",
    "network_latency",
    "active_connections",
    "cache_hit_rate",
    "requests_per_second",
    "error_rate",
    "response_time_ms",
    "as_of",
}


async def published(api: Api, counts: RequestCounts, host: str, *, seconds: float = 0) -> list[Event]:
    """Runs a process's telemetry until what it has counted is in the database; the process has run so many seconds by then."""
    times = iter([0.0])
    events: list[Event] = []
    done = asyncio.Event()
    wanted = 1 + len(counts._bins)

    async def publish(some: list[Event]) -> None:
        assert await api.services.log.publish(Batch(api.organization, some)) == []
        events.extend(some)
        if len(events) >= wanted:
            done.set()

    telemetry = RequestTelemetry(
        publish,
        counts,
        host=host,
        incarnation=f"{api.clock.now:%H%M%S%f}",
        clock=lambda: api.clock.now,
        random=random.Random(1),
        monotonic=lambda: next(times, seconds),
        sleep=lambda _: asyncio.Event().wait(),
    )
    running_ = asyncio.create_task(telemetry.run())
    await asyncio.wait_for(done.wait(), 30)
    running_.cancel()
    await asyncio.gather(running_, return_exceptions=True)
    return events


def rank(values: list[float], q: float) -> float:
    """The smallest value whose share of values not above it reaches q."""
    return sorted(values)[max(0, math.ceil(q * len(values) - 1e-9) - 1)]


async def performance(api: Api) -> dict[str, Any]:
    reply = await api.get("/api/performance")
    assert reply.status == 200, reply.text
    found: dict[str, Any] = reply.json
    assert set(found) == SHAPE
    assert set(found["response_time_ms"]) == {"p50", "p95", "p99"}
    for route in found["routes"]:
        assert set(route) == ROUTE_SHAPE
    return found


async def test_before_anything_is_published_nothing_is_invented(api: Api) -> None:
    found = await performance(api)
    assert found["configuration"] == {"version": "test", "workers": 0, "window_seconds": 300}
    assert found["routes"] == []
    assert found["response_time_ms"] == {"p50": None, "p95": None, "p99": None}
    figures = ("uptime_seconds", "requests_total", "requests_per_second", "error_rate")
    assert {found[name] for name in figures} == {None}


async def test_figures_agree_with_every_request_of_two_processes(api: Api) -> None:
    chance = random.Random(5)
    times: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    errors: defaultdict[tuple[str, str], int] = defaultdict(int)
    routes = [("GET", "/health"), ("POST", "/api/v1/events"), ("GET", "/api/v1/deployments/{id}"), ("ANY", "none")]
    for process in range(2):
        counts = RequestCounts()
        for _ in range(2_000):
            place = chance.choice(routes)
            seconds, status = chance.lognormvariate(-5, 1.5), chance.choice([200, 200, 304, 404, 422, 500, 503])
            times[place].append(seconds * 1_000)
            errors[place] += status >= 500
            counts.count(*place, status, seconds)
        events = await published(api, counts, f"web/api:{process}", seconds=10 + process)
        # The log takes a small share of what there was to tell.
        assert len(events) < 2_000
    found = await performance(api)
    assert (found["uptime_seconds"], found["requests_total"], found["configuration"]["workers"]) == (11, 4_000, 2)
    assert float(found["requests_per_second"]) == pytest.approx(4_000 / 330, rel=1e-9)
    assert float(found["error_rate"]) == pytest.approx(100 * sum(errors.values()) / 4_000)
    everything = [ms for values in times.values() for ms in values]
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert float(found["response_time_ms"][name]) == pytest.approx(rank(everything, q), rel=0.01)
    assert {(route["method"], route["route"]) for route in found["routes"]} == set(routes)
    assert [r["count"] for r in found["routes"]] == sorted((len(values) for values in times.values()), reverse=True)
    for route in found["routes"]:
        place = route["method"], route["route"]
        assert route["count"] == len(times[place])
        assert float(route["error_rate"]) == pytest.approx(100 * errors[place] / len(times[place]))
        for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            assert float(route[name]) == pytest.approx(rank(times[place], q), rel=0.01)


async def test_another_process_gives_the_same_answer_and_time_ends_it(api: Api, service_database: str) -> None:
    counts = RequestCounts()
    counts.count("GET", "/health", 200, 0.25)
    await published(api, counts, "web/api:1")
    async with running(service_database, known=api, refreshing=False) as other:
        assert await performance(other) == await performance(api)
    api.clock.now += timedelta(minutes=5)
    assert (await performance(api))["requests_total"] == 1
    api.clock.now += timedelta(minutes=1)
    assert (await performance(api))["requests_total"] is None


async def test_routes_do_not_reach_the_figures_over_hosts_and_their_process_does(api: Api) -> None:
    counts = RequestCounts()
    for seconds, status in ((0.1, 200), (0.3, 500), (0.2, 200), (0.2, 200)):
        counts.count("GET", "/health", status, seconds)
    await published(api, counts, "web/api:1", seconds=8)
    stats = (await api.get("/api/v1/dashboard/stats")).json
    assert float(stats["liveStats"]["responseTime"]) == pytest.approx(200)
    assert stats["liveStats"]["errorRate"] == 25
    live = (await api.get("/api/v1/metrics")).json
    assert set(live) == LIVE_SHAPE
    assert float(live["response_time_ms"]) == pytest.approx(200)
    assert (live["error_rate"], float(live["requests_per_second"])) == (25, 0.5)
    assert {live[name] for name in ("cpu_usage", "gpu_usage", "cache_hit_rate")} == {None}
    history = await api.query("system_metrics", measures="last", group_by="host", filter="metric:response_time")
    assert [row[0] for row in history.rows] == ["web/api:1"]


async def test_live_figures_are_means_and_sums_over_hosts(api: Api) -> None:
    await api.send(
        [
            api.system("a", cpu_usage=10, requests_per_second=3, active_connections=4, network_latency=2),
            api.system("b", cpu_usage=20, requests_per_second=5, active_connections=6, gpu_usage=50),
            api.system("c", api.clock.now - timedelta(minutes=6), cpu_usage=90, memory_usage=3),
        ]
    )
    live = (await api.get("/api/v1/metrics")).json
    assert (live["cpu_usage"], live["requests_per_second"], live["active_connections"]) == (15, 8, 10)
    assert (live["network_latency"], live["gpu_usage"], live["memory_usage"]) == (2, 50, None)


async def test_requests_are_counted_by_route_and_streams_are_not(api: Api) -> None:
    assert (await api.get("/health")).status == 200
    assert (await api.get("/nothing/here")).status == 404
    assert (await api.request("PURGE", "/another")).status == 404
    async with api.stream(mode="events") as stream:
        await stream.placed()
    taken = api.services.requests.take()
    places = {(one.method, one.route) for one in taken.answered}
    assert {("GET", "/health"), ("ANY", "none")} <= places
    assert not any(route == "/api/v1/stream" or method == "PURGE" for method, route in places)
    assert taken.requests == api.services.requests.total == sum(one.requests for one in taken.answered)
    assert api.services.requests.take().requests == 0


async def test_it_is_open_where_operations_are_public_and_nowhere_else(api: Api, service_database: str) -> None:
    anonymous = {"Authorization": "Bearer sg_aaaaaaaa_" + "a" * 43}
    del api.headers["Authorization"]
    assert (await api.get("/api/performance")).status == 200
    assert (await api.get("/api/performance", headers=anonymous)).status == 401
    object.__setattr__(api.services, "public_operations", False)
    assert (await api.get("/api/performance")).status == 401
    assert (await api.get("/api/v1/metrics")).status == 401


async def test_a_service_that_publishes_nothing_says_so(api: Api) -> None:
    object.__setattr__(api.services, "own_organization", None)
    assert (await performance(api))["as_of"] is None


async def test_what_cannot_be_true_is_not_rolled_up(api: Api) -> None:
    def told(host: str = "x/api:1 GET /x", **figures: float) -> dict[str, Any]:
        return api.system(host, **{f"api.{name}": value for name, value in figures.items()})

    await api.send(
        [
            told(request_time=5, requests=1e18),
            told(request_time=5, requests=0.5),
            told(request_time=-5, requests=1),
            told(request_time=5, requests=1, errors=2),
            told(request_time=5),
            told("x/api:1", request_time=5, requests=1),
            told("x/api:1 GET", request_time=5, requests=1),
            told(request_time=7, requests=1_000_000, errors=500_000),
        ]
    )
    reply = await api.query("api_requests", measures="requests,errors,p50,avg,error_rate", group_by="host,method,route")
    (row,) = reply.rows
    assert row[:5] == ["x/api:1", "GET", "/x", 1_000_000, 500_000]
    assert [float(value) for value in row[5:]] == pytest.approx([7, 7, 50], rel=0.01)


async def test_a_log_that_is_away_costs_the_oldest_figures_and_says_how_many() -> None:
    counts = RequestCounts()
    asked = asyncio.Event()

    async def refuse(_: list[Event]) -> None:
        asked.set()
        raise OSError("away")

    telemetry = RequestTelemetry(
        refuse, counts, host="web/api:1", incarnation="1", clock=lambda: NOON, random=random.Random(1)
    )
    events = 0
    for _ in range(90):
        for number in range(300):
            counts.count("GET", "/x", 200, 1.03**number / 1_000)
        events += 1 + len(counts._bins)
        telemetry.measure()
    assert telemetry.dropped == events - SPOOL_EVENTS > 0
    running_ = asyncio.create_task(telemetry.run())
    await asyncio.wait_for(asked.wait(), 10)
    assert not running_.done()
    running_.cancel()
    await asyncio.gather(running_, return_exceptions=True)
