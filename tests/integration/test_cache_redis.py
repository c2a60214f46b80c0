"""Redis behind the memory: shared by processes, never stale, and neither an error nor a delay where it is slow or away."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from api.cache.answers import LIFE_S, ResponseCache
from api.cache.second_level import REST_S, SecondLevel
from tests.integration.api_service import Api, another, running, until
from tests.integration.kept_answers import STATS, cache_of, confirmed, cpu, member, send
from tests.servers.server import Server


def second_of(api: Api) -> SecondLevel:
    second = cache_of(api).second
    assert second is not None
    return second


@asynccontextmanager
async def with_redis(
    database: str,
    redis: str,
    known: Api | None = None,
    clock: Callable[[], float] = time.monotonic,
    timeout_s: float = 10.0,
) -> AsyncIterator[Api]:
    """A service with Redis behind its memory. The time it gives it is long, because machines that run tests are slow at times."""
    async with AsyncExitStack() as stack:
        second = SecondLevel(redis, life_s=LIFE_S, timeout_s=timeout_s, clock=clock)
        stack.push_async_callback(second.close)
        api = await stack.enter_async_context(
            running(database, known=known, cache=partial(ResponseCache, second=second))
        )
        await confirmed(api)
        yield api


async def test_what_one_process_read_the_other_finds_and_keeps(database_url: str, redis: str) -> None:
    async with with_redis(database_url, redis) as api, with_redis(database_url, redis, api) as other:
        await send(api, api.system("web", cpu_usage=5))
        await until(lambda: other.services.hub.position >= api.services.hub.position)
        first = await api.get(STATS)
        await second_of(api).settle()
        found = await other.get(STATS)
        assert (found.body, found.headers["ETag"]) == (first.body, first.headers["ETag"])
        assert (cache_of(other).misses, cache_of(other).hits, second_of(other).hits) == (0, 0, 1)
        # From now on it is in memory.
        assert await cpu(other) == 5
        assert (cache_of(other).misses, cache_of(other).hits, second_of(other).hits) == (0, 1, 1)
        # Another question, another caller, another organization: nothing of it is there.
        _, headers = await member(api, "member")
        assert await cpu(other, headers) == 5
        async with another(other, "Rival") as rival:
            assert await cpu(rival) is None
        assert second_of(other).hits == 1
        # A commit that this process has not heard of yet makes another answer: Redis has none for it.
        await send(api, api.system("web", cpu_usage=6))
        assert await cpu(api) == 6
        await until(lambda: len(cache_of(other).memory) == 1)  # only the rival's is left
        assert await cpu(other) == 6


async def test_a_window_that_is_over_is_not_found(database_url: str, redis: str) -> None:
    async with with_redis(database_url, redis) as api, with_redis(database_url, redis, api) as other:
        await cpu(api)
        await second_of(api).settle()
        other.clock.now = api.clock.now.replace(second=59)
        await cpu(other)
        assert second_of(other).hits == 1
        await cache_of(other).drop(other.organization)
        await cpu(api)
        await second_of(api).settle()
        other.clock.now = api.clock.now.replace(minute=api.clock.now.minute + 1, second=1)
        await cpu(other)
        assert (second_of(other).hits, cache_of(other).misses) == (1, 1)


async def test_forgetting_reaches_redis_and_nobody_elses_answers(database_url: str, redis: str) -> None:
    async with with_redis(database_url, redis) as api, another(api, "Rival") as rival:
        for one in (api, rival):
            await one.get(STATS)
            await one.get("/users/top")
        await second_of(api).settle()
        assert await cache_of(api).drop(api.organization, "/users/*") == 2
        assert await cache_of(api).drop(api.organization) == 2
        assert await second_of(api).drop(rival.organization) == 2


async def test_while_redis_is_away_all_is_as_without_it(database_url: str, redis_server: Server) -> None:
    ahead = [0.0]
    async with with_redis(
        database_url, redis_server.address, clock=lambda: time.monotonic() + ahead[0], timeout_s=1.0
    ) as api:
        redis_server.stop()
        second = second_of(api)
        for number in range(5):
            assert (await api.get(STATS, host=number)).status == 200
        # It was asked once, and is left alone.
        assert (second.errors, second.available, cache_of(api).misses) == (1, False, 5)
        redis_server.start()
        ahead[0] += REST_S
        await api.get(STATS, host="back")
        await second.settle()
        assert (second.errors, second.available, second.misses) == (1, True, 1)
        # One that does not answer is no different from one that is away.
        redis_server.freeze()
        for number in range(5, 10):
            assert (await api.get(STATS, host=number)).status == 200
        assert (second.errors, second.available) == (2, False)
        redis_server.thaw()


async def test_what_is_no_answer_of_ours_is_passed_over(database_url: str, redis: str) -> None:
    async with with_redis(database_url, redis) as api, with_redis(database_url, redis, api) as other:
        await cpu(api)
        await second_of(api).settle()
        client = second_of(api)._redis
        places = [place async for place in client.scan_iter(match=f"*{api.organization.hex}*")]
        assert len(places) == 1
        await client.set(places[0], b"\x93nonsense")
        assert await cpu(other) is None
        assert (second_of(other).errors, cache_of(other).misses) == (1, 1)
