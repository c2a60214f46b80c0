"""What WebSockets push: the figures of the endpoints, at once and after commits, the newest to whoever is behind."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from storage.notices import ComparisonNotice, announce_comparison
from tests.integration.api_service import Api, another, running
from tests.integration.socket_client import connected, entered

SYSTEM_METRICS = ("cpuUsage", "gpuUsage", "memoryUsage", "networkLatency", "activeConnections")
METRICS = {
    *("cpu_usage", "memory_usage", "gpu_usage", "network_latency", "active_connections"),
    *("cache_hit_rate", "requests_per_second", "error_rate", "response_time_ms", "as_of"),
}


async def compared(api: Api, *notices: ComparisonNotice) -> None:
    async with api.services.database.owner() as connection:
        for notice in notices:
            await announce_comparison(connection, notice)


async def test_system_metrics_come_at_once_and_after_commits(api: Api) -> None:
    async with connected(api) as socket:
        await socket.signed_in(api.headers)
        first = await socket.next()
        assert first == {"type": "system_metrics", "data": dict.fromkeys(SYSTEM_METRICS)}
        sent = {"cpu_usage": 74.79, "gpu_usage": 86.42, "memory_usage": 79.38, "network_latency": 35.22}
        await api.send([api.system("a", active_connections=14, **sent)])
        pushed = await socket.next_of("system_metrics")
        assert pushed == (await api.get("/api/v1/dashboard/stats")).json["systemMetrics"]
        assert list(map(float, pushed.values())) == [74.79, 86.42, 79.38, 35.22, 14]


async def test_changes_are_conflated_to_one_a_second(api: Api) -> None:
    async with entered(api) as socket:
        await socket.next_of("system_metrics")
        started, told = time.monotonic(), []
        for number in range(40):
            await api.send([api.system("a", api.clock.now + timedelta(milliseconds=number), cpu_usage=number)])
        while not told or told[-1] != 39:
            told.append((await socket.next_of("system_metrics"))["cpuUsage"])
        assert told == sorted(told)
        assert len(told) <= 2 + time.monotonic() - started


async def test_one_question_is_asked_for_all_sockets_of_an_organization(api: Api) -> None:
    async with entered(api) as one, entered(api) as two, another(api, "Other") as other, entered(other) as theirs:
        for socket in (one, two, theirs):
            await socket.next_of("system_metrics")
        assert sorted(len(topic.followers) for topic in api.services.hub._topics.values()) == [1, 2]


async def test_comparisons_are_told_to_their_organization(api: Api) -> None:
    async with another(api, "Other") as other, entered(api) as ours, entered(other) as theirs:
        await ours.next_of("system_metrics")
        await theirs.next_of("system_metrics")
        await compared(api, ComparisonNotice(api.organization, "c-1", "processing", 45))
        assert await ours.next_of("comparison_update") == {
            "comparison_id": "c-1",
            "status": "processing",
            "progress": 45,
        }
        async with api.services.database.owner() as connection:
            await connection.execute("select pg_notify('streamgauge_comparisons', 'nonsense')")
        await compared(api, ComparisonNotice(other.organization, "c-2", "failed"))
        # What they are told first is their own: nothing of ours came before.
        message = await theirs.next()
        while message["type"] == "reset":
            message = await theirs.next()
        assert message["data"] == {"comparison_id": "c-2", "status": "failed", "progress": None}


async def test_a_slow_reader_gets_the_newest(api: Api) -> None:
    async with entered(api, narrow=True) as slow, entered(api) as fast:
        for socket in (slow, fast):
            await socket.next_of("system_metrics")
        slow.served_by(api)
        total = 3_000
        for start in range(0, total, 500):
            notices = [
                ComparisonNotice(api.organization, "c" * 200, "processing", progress)
                for progress in range(start, start + 500)
            ]
            await compared(api, *notices)
        await compared(api, ComparisonNotice(api.organization, "last", "done", 100))
        while (await fast.next_of("comparison_update"))["comparison_id"] != "last":
            pass
        told = []
        while (update := await slow.next_of("comparison_update"))["comparison_id"] != "last":
            told.append(update["progress"])
        assert told == sorted(told)
        assert told[-1] == total - 1
        assert len(told) < total


async def test_after_a_gap_the_reader_is_told_to_read_again(api: Api) -> None:
    async with entered(api) as socket:
        await socket.next_of("system_metrics")
        await compared(api, ComparisonNotice(api.organization, "before", "queued"))
        await socket.next_of("comparison_update")
        async with api.services.database.owner() as connection:
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'streamgauge notices' and datname = current_database()"
            )
        assert set(await socket.next_of("reset")) == {"reason", "as_of"}
        await compared(api, ComparisonNotice(api.organization, "after", "done"))
        assert (await socket.next_of("comparison_update"))["comparison_id"] == "after"


async def test_metrics_are_told_to_subscribers_and_to_whoever_asks(api: Api) -> None:
    async with entered(api, "/ws/dashboard") as subscriber, entered(api, "/ws/dashboard") as asker:
        await subscriber.send(type="subscribe", topics=["metrics"])
        first = await subscriber.next()
        assert (first["type"], set(first["data"])) == ("metrics", METRICS)
        await api.send([api.system("a", cpu_usage=7, response_time=12.5)])
        pushed = await subscriber.next_of("metrics")
        assert (pushed["cpu_usage"], float(pushed["response_time_ms"]), pushed["gpu_usage"]) == (7, 12.5, None)
        for asking in ("request_metrics", "requestMetrics"):
            await asker.send(type=asking)
            assert await asker.next() == {"type": "metrics", "data": pushed}
        await subscriber.send(type="unsubscribe", topics=["metrics"])
        await subscriber.send(type="nonsense")
        assert (await subscriber.next_of("error"))["known"]
        assert not api.services.hub._topics
        await asker.send(type="request_deployment_status")
        assert (await asker.next())["type"] == "deployment_status"


async def test_deployments_are_told_when_they_change(service_database: str) -> None:
    async with (
        running(service_database) as api,
        another(api, "Other") as other,
        entered(api, "/ws/dashboard") as ours,
        entered(other, "/ws/dashboard") as theirs,
    ):
        for socket in (ours, theirs):
            await socket.send(type="subscribe", topics=["deployments", "metrics"])
            assert await socket.next_of("deployment_status") == {"deployments": []}
        deployment = {"service": "web", "version": "1.2.3", "environment": "production", "status": "running"}
        made = await api.request("POST", "/api/v1/deployments", json=deployment)
        assert made.status == 201
        assert await ours.next_of("deployment_status") == {"deployments": [made.json]}
        done = await api.request("PATCH", f"/api/v1/deployments/{made.json['id']}", json={"status": "succeeded"})
        assert await ours.next_of("deployment_status") == {"deployments": [done.json]}
        await theirs.send(type="requestDeploymentStatus")
        assert await theirs.next_of("deployment_status") == {"deployments": []}


async def test_a_question_that_fails_closes_with_a_reason(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async with entered(api) as socket:
        await socket.next_of("system_metrics")

        async def fail(*_: Any) -> Any:
            raise RuntimeError("secret")

        monkeypatch.setattr("api.ws.modelcompare.dashboard_stats", fail)
        await api.send([api.system("a", cpu_usage=1)])
        code, said = await socket.end()
        assert code == 1011
        assert "secret" not in str(said)


async def test_every_connection_ends_when_the_service_stops(service_database: str) -> None:
    async with (
        running(service_database) as api,
        entered(api) as one,
        entered(api, "/ws/dashboard") as two,
        connected(api) as nobody,
        entered(api, narrow=True) as reads_nothing,
        api.stream(mode="events") as events,
        api.stream(rollup="system_metrics") as state,
    ):
        await events.placed()
        await state.next()
        ends = asyncio.gather(one.end(), two.end(), nobody.end(), events.next(), state.next())
        assert api.app is not None
        await asyncio.wait_for(api.app.shutdown(), 5)
        found = await asyncio.wait_for(ends, 5)
        assert [end[0] for end in found[:3]] == [1001, 1001, 1001]
        assert list(found[3:]) == [None, None]
        assert (await reads_nothing.end())[0] == 1001
