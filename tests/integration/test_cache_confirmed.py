"""Kept answers are given only while the feed, or a mark that processes share, confirms them; and memory is bounded."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import psycopg
import pytest

from api.cache.answers import UNCONFIRMED_S, ResponseCache
from api.cache.commit_mark import CommitMark
from tests.integration.api_service import running, until
from tests.integration.kept_answers import STATS, cache_of, confirmed, cpu, locked, misses


async def test_without_word_from_the_database_nothing_is_answered_from_memory(database_url: str) -> None:
    ahead = [0.0]
    make = partial(ResponseCache, clock=lambda: time.monotonic() + ahead[0])
    async with running(database_url, cache=make) as api:
        await confirmed(api)
        await cpu(api)
        assert await misses(api, partial(cpu, api)) == 0
        async with locked(database_url, "feed"):
            ahead[0] += UNCONFIRMED_S
            assert await misses(api, *[partial(cpu, api)] * 2) == 2
        await confirmed(api)
        await cpu(api)
        assert await misses(api, partial(cpu, api)) == 0


async def test_a_listener_that_lost_its_connection_drops_everything(database_url: str) -> None:
    async with running(database_url) as api:
        await confirmed(api)
        await cpu(api)
        async with running(database_url, known=api) as other:
            assert len(cache_of(api).memory) == 1
            async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
                await connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'streamgauge feed'"
                    " and datname = current_database()"
                )
            await until(lambda: len(cache_of(api).memory) == 0)
            await other.send([other.system("web", cpu_usage=7)])
            await confirmed(api)
            assert await cpu(api) == 7


async def test_memory_is_bounded(database_url: str) -> None:
    async with running(database_url, cache=partial(ResponseCache, most_entries=3)) as api:
        await confirmed(api)
        for host in "abcde":
            await api.get(STATS, host=host)
        memory = cache_of(api).memory
        assert (len(memory), memory.evictions) == (3, 2)
        assert await misses(api, *[partial(api.get, STATS, host=host) for host in "cde"]) == 0
        assert await misses(api, partial(api.get, STATS, host="a")) == 1
        # What was used last stays.
        assert await misses(api, partial(api.get, STATS, host="d"), partial(api.get, STATS, host="e")) == 0
        assert memory.bytes == sum(entry.size for entry in {shortcut.entry for shortcut in memory.shortcuts.values()})
    async with running(database_url, cache=partial(ResponseCache, most_bytes=30_000)) as api:
        await confirmed(api)
        for host in range(20):
            await api.get(STATS, host=host)
            assert cache_of(api).memory.bytes <= 30_000
        assert 0 < len(cache_of(api).memory) < 15
        assert len(cache_of(api).memory.shortcuts) == len(cache_of(api).memory)


@pytest.mark.parametrize("marked", [True, False])
async def test_a_sender_is_answered_by_any_process_of_the_service_with_what_it_sent(
    database_url: str, tmp_path: Any, marked: bool
) -> None:
    # The second time, without a mark, shows that the test can fail.
    marks = [CommitMark(tmp_path / "mark") for _ in range(2)]
    first, second = (partial(ResponseCache, mark=mark if marked else None) for mark in marks)
    async with (
        running(database_url, cache=first) as api,
        running(database_url, cache=second, known=api) as other,
    ):
        # Only the mark tells: the feed is not listened to any more, and is taken for silent.
        await api.services.hub.stop()
        found = []
        for figure in range(5):
            cache_of(api).read(cache_of(api).reading())
            await cpu(api)
            await other.send([other.system("web", cpu_usage=figure)])
            found.append(await cpu(api))
    assert (found == list(range(5))) is marked
    for mark in marks:
        mark.close()
