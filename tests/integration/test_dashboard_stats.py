"""`GET /api/v1/dashboard/stats`: ModelCompare's document, each figure from where it is said to come from, none invented."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from tests.integration.api_service import NOON, Api

DOCUMENT = {
    "systemMetrics": {"cpuUsage", "gpuUsage", "memoryUsage", "networkLatency", "activeConnections"},
    "liveStats": {
        "activeComparisons",
        "queueLength",
        "systemLoad",
        "carbonFootprint",
        "energyConsumption",
        "uptime",
        "responseTime",
        "errorRate",
    },
    "sustainability": {"totalCarbonSaved", "greenScore", "energyEfficiency", "renewableEnergyUsage", "carbonOffset"},
    "comparisonStats": {"totalComparisons", "modelsCompared", "averageAccuracy", "averageSpeed"},
    "enterpriseMetrics": {
        "modelAccuracy",
        "processingSpeed",
        "systemUptime",
        "successRate",
        "responseTime",
        "queueLength",
        "concurrentComparisons",
        "dataThroughput",
    },
}


async def stats(api: Api, **parameters: Any) -> dict[str, Any]:
    reply = await api.get("/api/v1/dashboard/stats", **parameters)
    assert reply.status == 200, reply.text
    found: dict[str, Any] = reply.json
    return found


async def test_it_has_exactly_the_documents_keys_and_null_for_what_nobody_sent(api: Api) -> None:
    found = await stats(api)
    assert found.pop("as_of")
    assert {group: set(figures) for group, figures in found.items()} == DOCUMENT
    assert {value for figures in found.values() for value in figures.values()} == {None}


async def test_figures_over_hosts_are_means_or_sums_of_what_was_heard_last(api: Api) -> None:
    now = api.clock.now
    await api.send(
        [
            api.system("a", now - timedelta(minutes=4), cpu_usage=10, active_connections=3, queue_length=1),
            api.system("a", now - timedelta(minutes=3), cpu_usage=20, active_connections=5, response_time=100),
            api.system("a", now - timedelta(minutes=3, seconds=30), cpu_usage=99),
            api.system("b", now, cpu_usage=50, active_connections=7, error_rate=0.5),
            api.system("b", now - timedelta(seconds=1), energy_consumption=1.5, carbon_footprint=0.5, uptime=99),
            api.system("c", now - timedelta(minutes=5), cpu_usage=80, active_connections=100),
            api.system("d", now - timedelta(minutes=5, microseconds=1), cpu_usage=1_000, active_connections=1_000),
        ]
    )
    found = await stats(api)
    assert found["systemMetrics"]["cpuUsage"] == 50
    assert found["systemMetrics"]["activeConnections"] == 112
    assert found["systemMetrics"]["gpuUsage"] is None
    live = found["liveStats"]
    assert (live["queueLength"], live["responseTime"], live["errorRate"], live["uptime"]) == (
        1,
        100,
        Decimal("0.5"),
        99,
    )
    assert (live["energyConsumption"], live["carbonFootprint"], live["systemLoad"]) == (
        Decimal("1.5"),
        Decimal("0.5"),
        None,
    )

    assert (await stats(api, host="b"))["systemMetrics"]["cpuUsage"] == 50
    assert (await stats(api, host="a,c"))["systemMetrics"]["cpuUsage"] == 50
    assert (await stats(api, host="a"))["systemMetrics"]["activeConnections"] == 5
    assert (await stats(api, host="d"))["systemMetrics"]["cpuUsage"] is None
    assert (await stats(api, host="nobody"))["systemMetrics"]["cpuUsage"] is None

    api.clock.now += timedelta(minutes=2, microseconds=1)
    assert (await stats(api))["systemMetrics"]["cpuUsage"] == 50
    assert (await stats(api))["systemMetrics"]["activeConnections"] == 7
    api.clock.now += timedelta(minutes=5)
    assert (await stats(api))["systemMetrics"]["cpuUsage"] is None


async def test_an_organizations_own_figures_are_its_last_reports_and_means_of_a_day(api: Api) -> None:
    now = api.clock.now
    await api.send(
        [
            api.enterprise(now - timedelta(days=40), total_comparisons=1_247, green_score=80),
            api.enterprise(now - timedelta(days=2), green_score=87, model_accuracy=10, processing_speed=10),
            api.enterprise(NOON - timedelta(hours=20), model_accuracy=88.5, processing_speed=80),
            api.enterprise(NOON - timedelta(hours=1), model_accuracy=89.2, concurrent_comparisons=12, queue_length=5),
            api.enterprise(NOON - timedelta(hours=2), concurrent_comparisons=99, response_time=245),
            api.enterprise(NOON, team="ml", model_accuracy=1, concurrent_comparisons=1, green_score=1),
        ]
    )
    found = await stats(api)
    assert found["comparisonStats"] == {
        "totalComparisons": 1_247,
        "modelsCompared": None,
        "averageAccuracy": Decimal("88.85"),
        "averageSpeed": 80,
    }
    assert (found["sustainability"]["greenScore"], found["sustainability"]["carbonOffset"]) == (87, None)
    assert found["liveStats"]["activeComparisons"] == 12
    enterprise = found["enterpriseMetrics"]
    assert (enterprise["modelAccuracy"], enterprise["processingSpeed"]) == (Decimal("89.2"), 80)
    assert (enterprise["concurrentComparisons"], enterprise["queueLength"], enterprise["responseTime"]) == (12, 5, 245)
    # Of the two kinds of event that know a response time each keeps its own.
    await api.send([api.system("a", now, response_time=7, queue_length=70)])
    found = await stats(api)
    assert (found["liveStats"]["responseTime"], found["enterpriseMetrics"]["responseTime"]) == (7, 245)
    assert (found["liveStats"]["queueLength"], found["enterpriseMetrics"]["queueLength"]) == (70, 5)
    assert found["systemMetrics"]["cpuUsage"] is None
