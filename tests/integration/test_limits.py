"""The limits as callers meet them: 429 with the time to wait, by credential, by address, by events, by streams."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
import pytest

from api.client_address import Proxies
from api.edge import Edge
from api.limits.rates import Rates
from api.limits.shared import REST_S, SharedLimits
from api.limits.sign_ins import SignIns
from storage import identity
from tests.integration.api_service import QUICK, Reply, another, running, until
from tests.integration.socket_client import connected
from tests.servers.server import Server

STATS = "/api/v1/dashboard/stats"


@dataclass
class Ticking:
    """A monotonic clock that stands still."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


def told(reply: Reply) -> tuple[int, int, int]:
    """Limit, what is left, seconds until all is."""
    headers = reply.headers
    return tuple(int(headers[f"RateLimit-{name}"]) for name in ("Limit", "Remaining", "Reset"))  # type: ignore[return-value]


async def test_a_key_has_a_minutes_requests_and_is_told_how_many_are_left(service_database: str) -> None:
    clock = Ticking()
    edge = Edge(rates=Rates(requests_per_minute=6, clock=clock))
    async with running(service_database, edge=edge) as api, another(api, "Other") as other:
        left = [told(await api.get("/api/auth/me")) for _ in range(3)]
        assert left == [(6, 5, 10), (6, 4, 20), (6, 3, 30)]
        # What comes from memory counts, too, and says so.
        kept = [await api.get(STATS) for _ in range(3)]
        assert [told(reply)[1] for reply in kept] == [2, 1, 0]
        assert kept[-1].headers["RateLimit-Policy"] == "6;w=60"
        for path in (STATS, "/api/auth/me"):
            refused = await api.get(path)
            assert (refused.status, refused.headers["Retry-After"]) == (429, "10")
        refused = await api.get("/users/top")
        assert (refused.json["statusCode"], refused.headers["Retry-After"], told(refused)) == (
            429,
            "10",
            (6, 0, 60),
        )
        assert (await other.get(STATS)).status == 200
        clock.now += 10
        assert (await api.get(STATS)).status == 200
        assert (await api.get(STATS)).json["title"] == "Too many requests"


async def test_an_address_has_its_own_limit_and_so_has_whoever_tries_credentials(service_database: str) -> None:
    edge = Edge(rates=Rates(anonymous_requests_per_minute=6, clock=Ticking()), proxies=Proxies(["127.0.0.0/8"]))
    async with running(service_database, edge=edge) as api:
        assert (await api.get(STATS)).status == 200
        bad = {"Authorization": "Bearer sg_aaaaaaaa_" + "a" * 43, "X-Forwarded-For": "203.0.113.7"}
        statuses = [(await api.get(STATS, headers=bad)).status for _ in range(8)]
        assert statuses == [401] * 6 + [429] * 2
        seven, eight = {"X-Forwarded-For": "203.0.113.7"}, {"X-Forwarded-For": "1.2.3.4, 203.0.113.8"}
        for path in ("/docs", "/nothing", "/"):
            for headers, status in ((seven, 429), (eight, 404 if path == "/nothing" else 200)):
                async with api.session.get(api.url + path, headers=headers) as answer:
                    assert answer.status == status, path
        # A credential that is known goes on, and load balancers do.
        assert (await api.get(STATS, headers=seven)).status == 200
        assert [(await api.get("/health", headers=seven)).status for _ in range(10)] == [200] * 10


async def test_events_count_one_by_one_whatever_batches_they_come_in(service_database: str) -> None:
    clock = Ticking()
    async with running(service_database, edge=Edge(rates=Rates(events_per_second=10, clock=clock))) as api:
        await api.send([api.system("web", cpu_usage=1) for _ in range(60)])
        reply = await api.request("POST", "/api/v1/events", json=[api.system("web", cpu_usage=1) for _ in range(41)])
        assert (reply.status, reply.headers["Retry-After"], told(reply)) == (429, "1", (100, 40, 6))
        assert reply.headers["Content-Type"] == "application/problem+json"
        await api.send([api.system("web", cpu_usage=1) for _ in range(40)])
        # More than ten seconds' worth at once leaves a debt.
        clock.now += 10
        await api.send([api.system("web", cpu_usage=1) for _ in range(150)])
        reply = await api.request("POST", "/api/v1/events", json=api.system("web", cpu_usage=1))
        assert (reply.status, reply.headers["Retry-After"]) == (429, "6")
        async with another(api, "Other") as other:
            await other.send([other.system("web", cpu_usage=1)])
        rows = (await api.query("system_metrics", measures="count", filter="metric:cpu_usage")).rows
        assert sum(row[-1] for row in rows) == 250


async def test_the_sixth_failed_sign_in_of_an_address_waits_and_success_is_none(service_database: str) -> None:
    clock = Ticking()
    edge = Edge(sign_ins=SignIns(5, clock=clock), proxies=Proxies(["127.0.0.1/32"]))
    async with running(service_database, edge=edge) as api:
        made = await identity.create_account(api.services.database, "limits@example.com", QUICK.hash("right"))
        await identity.create_membership(api.services.database, made, api.organization, "member")

        async def sign_in(email: str, password: str, address: str) -> Reply:
            body = {"email": email, "password": password}
            del api.headers["Authorization"]
            try:
                return await api.request("POST", "/api/auth/login", json=body, headers={"X-Forwarded-For": address})
            finally:
                api.headers["Authorization"] = kept

        kept = api.headers["Authorization"]
        for number in range(4):
            assert (await sign_in(f"nobody{number}@example.com", "wrong", "203.0.113.7")).status == 401
            assert (await sign_in("limits@example.com", "right", "203.0.113.7")).status == 200
        assert (await sign_in("nobody9@example.com", "wrong", "203.0.113.7")).status == 401
        refused = await sign_in("limits@example.com", "right", "203.0.113.7")
        assert (refused.status, refused.headers["Retry-After"]) == (429, "60")
        assert (await sign_in("limits@example.com", "right", "203.0.113.8")).status == 200
        clock.now += 60
        assert (await sign_in("limits@example.com", "right", "203.0.113.7")).status == 200


async def test_so_many_streams_are_open_with_a_key_and_so_many_sockets_wait_at_an_address(
    service_database: str,
) -> None:
    edge = Edge(streams_per_credential=2, waiting_sockets_per_address=2)
    async with running(service_database, edge=edge) as api:
        async with api.stream(mode="events"), connected(api, headers=api.headers):
            refused = await api.get("/api/v1/stream", mode="events")
            assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
            with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
                async with connected(api, headers=api.headers):
                    pass
            async with connected(api) as late:
                await late.send(type="auth", token=api.headers["Authorization"].removeprefix("Bearer "))
                assert (await late.end())[0] == 4429
        async with connected(api), connected(api) as second:
            with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
                async with connected(api):
                    pass
            await second.signed_in(api.headers)
            async with connected(api) as third:
                await third.signed_in(api.headers)
        await until(lambda: len(api.readers) == 0)
        assert not api.readers._open


async def test_processes_share_a_limit_through_redis(redis: str, redis_server: Server) -> None:
    one, two = SharedLimits(redis), SharedLimits(redis)
    try:
        rates = [Rates(requests_per_minute=60), Rates(requests_per_minute=60)]
        name = f"test-{id(rates)}"
        first, second = (rate.requests.buckets for rate in rates if rate.requests is not None)
        for buckets in (first, second):
            buckets.touched, buckets.name = set(), name
        first.take("key", 50)
        second.take("key", 5)
        await one.share(first)
        await two.share(second)
        assert second.left("key") == pytest.approx(5, abs=1.5)
        first.take("key")
        await one.share(first)
        assert first.left("key") == pytest.approx(4, abs=1.5)
        # Attempts are counted there at once.
        here, there = SignIns(5, shared=one), SignIns(5, shared=two)
        for number in range(5):
            assert (await (here, there)[number % 2].begin(name, f"{number}{name}")).wait == 0
        assert 55 < (await here.begin(name, f"8{name}")).wait <= 60
        assert 55 < (await there.begin(name, f"9{name}")).wait <= 60
    finally:
        await one.close()
        await two.close()


async def test_without_redis_each_process_limits_by_itself_and_says_so_once(
    redis_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Ticking()
    shared = SharedLimits(redis_server.address, clock=clock)
    try:
        rates = Rates(requests_per_minute=60)
        assert rates.requests is not None
        buckets = rates.requests.buckets
        buckets.touched = set()
        signing = SignIns(5, shared=shared)
        await signing.begin("1.1.1.1", "a")
        await asyncio.to_thread(redis_server.stop)
        for number in range(4):
            buckets.take("key")
            await shared.share(buckets)
            assert (await signing.begin("1.1.1.1", f"a{number}")).wait == 0
            clock.now += REST_S
        assert (await signing.begin("1.1.1.1", "b")).wait > 0
        assert buckets.left("key") == pytest.approx(56, abs=2)
        assert capsys.readouterr().out.count("limits_not_shared") == 1
        await asyncio.to_thread(redis_server.start)
        clock.now += REST_S
        buckets.take("key")
        await shared.share(buckets)
        assert shared.available
        assert "limits_shared" in capsys.readouterr().out
    finally:
        await shared.close()
