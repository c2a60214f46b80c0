"""Answers that are being read: many who ask at once are one question, whoever goes, fails or is overtaken."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import psycopg

from tests.integration.api_service import Api, until
from tests.integration.kept_answers import STATS, cache_of, confirmed, cpu, locked, misses, send


async def test_many_who_ask_at_once_are_one_question(api: Api, service_database: str) -> None:
    await confirmed(api)
    before = cache_of(api).misses
    async with locked(service_database, "rollup_system_metrics_1m"):
        asking = [asyncio.create_task(api.get(STATS)) for _ in range(20)]
        await until(lambda: len(cache_of(api).memory.flights) == 1)
    replies = await asyncio.gather(*asking)
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert cache_of(api).misses - before == 1


async def test_who_finds_an_answer_for_others_and_goes_hands_over(api: Api, service_database: str) -> None:
    await confirmed(api)
    memory = cache_of(api).memory
    async with locked(service_database, "rollup_system_metrics_1m"):
        first = asyncio.create_task(api.get(STATS))
        await until(lambda: len(memory.flights) == 1)
        (flight,) = memory.flights.values()
        others = [asyncio.create_task(api.get(STATS)) for _ in range(5)]
        first.cancel()
        await until(lambda: flight.abandoned)
        await until(lambda: len(memory.flights) == 1)
    assert {reply.status for reply in await asyncio.gather(*others)} == {200}
    assert await misses(api, partial(api.get, STATS)) == 0


async def test_a_failure_is_nobody_elses_and_is_not_kept(api: Api, service_database: str) -> None:
    await confirmed(api)
    memory = cache_of(api).memory
    async with locked(service_database, "rollup_system_metrics_1m"):
        asking = [asyncio.create_task(api.get(STATS)) for _ in range(3)]
        await until(lambda: len(memory.flights) == 1)
        async with await psycopg.AsyncConnection.connect(service_database, autocommit=True) as connection:
            ended: list[Any] = []
            while not ended:
                ended = await (
                    await connection.execute(
                        "select pg_cancel_backend(pid) from pg_stat_activity where application_name = 'streamgauge api'"
                        " and wait_event_type = 'Lock' and datname = current_database()"
                    )
                ).fetchall()
                await asyncio.sleep(0.01)
    statuses = sorted([reply.status for reply in await asyncio.gather(*asking)])
    assert (statuses[0], statuses[-1]) == (200, 504)
    assert (await api.get(STATS)).status == 200


async def test_an_answer_that_a_commit_overtook_is_not_kept(api: Api, service_database: str) -> None:
    await confirmed(api)
    await send(api, api.system("web", cpu_usage=1))
    memory = cache_of(api).memory
    async with locked(service_database, "rollup_enterprise_metrics_1d"):
        early = asyncio.create_task(cpu(api))
        await until(lambda: len(memory.flights) == 1)
        (flight,) = memory.flights.values()
        # It has read the hosts, or will; it waits for the organization's own figures, which this event does not touch.
        await send(api, api.system("web", cpu_usage=2))
        assert flight.stale
        assert not memory.flights
        late = asyncio.create_task(cpu(api))
        await until(lambda: len(memory.flights) == 1)
    assert await early in (1, 2)
    assert await late == 2
    assert await cpu(api) == 2
