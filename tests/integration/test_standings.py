"""The creators' standings are refreshed when views came, at their pace and by one process; until then the board says how old it is."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timedelta
from typing import get_args
from uuid import UUID

import pytest

from aggregators.definitions import ROLLUPS
from jobs.standings import keep_standings
from storage.database import Database, connect
from storage.leaderboard import Board, Standings, ensure_standings, refresh_standings, standings
from storage.migrate import migrate
from storage.sink import DatabaseSink
from tests.integration.api_service import running
from tests.integration.stored import organizations, run, scalar
from tests.samples import START, batches, system, view


async def all_time(database: Database, organization: UUID, limit: int) -> Standings:
    """The best creators of all time."""
    return await standings(database, organization, "all", limit=limit)


def seen(url: str, owners: list[UUID], *names: str, time: datetime = START) -> None:
    """A view of each of these creators' videos, by the first organization."""
    sink = DatabaseSink(url, ROLLUPS)
    sink.write(batches([view(name, creator_id=name, video_id=name, time=time) for name in names], owners))
    sink.close()


async def test_what_is_read_is_what_was_refreshed_and_says_so(database_url: str, database: Database) -> None:
    owners = organizations(database_url)
    before = await all_time(database, owners[0], 10)
    assert (before.creators, before.current, before.read_at) == ([], True, None)
    seen(database_url, owners, "ann", "bob")
    stale = await all_time(database, owners[0], 10)
    assert (stale.creators, stale.current, stale.as_of) == ([], False, before.as_of)
    assert await refresh_standings(database, interval_s=0)
    found = await all_time(database, owners[0], 10)
    assert [row["creator_id"] for row in found.creators] == ["ann", "bob"]
    assert found.current
    committed = scalar(database_url, "select committed_at from store.watermark where kind = 'view'")
    assert found.as_of == committed
    assert found.read_at is not None
    seen(database_url, owners, "eve")
    again = await all_time(database, owners[0], 10)
    assert (again.creators, again.as_of, again.current) == (found.creators, found.as_of, False)
    # Another organization sees nothing of it, and is as fresh as ever.
    other = await all_time(database, owners[1], 10)
    assert (other.creators, other.current) == ([], True)


async def test_a_stale_board_does_not_claim_the_time_of_the_request(database_url: str) -> None:
    async with running(database_url, refreshing=False) as api:
        api.clock.now = datetime.now().astimezone()
        await api.send([api.view("view", creator_id="ann")], wait=False)
        assert await refresh_standings(api.services.database, interval_s=0)
        api.clock.now = datetime.now().astimezone()
        fresh = await api.get("/users/top")
        assert datetime.fromisoformat(fresh.headers["X-As-Of"]) >= api.clock.now.replace(microsecond=0)
        await api.send([api.view("view", creator_id="bob")], wait=False)
        api.clock.now = datetime.now().astimezone()
        stale = await api.get("/users/top")
        assert [row["id"] for row in stale.json] == ["ann"]
        read_at = scalar(database_url, "select date_trunc('milliseconds', began_at) from store.standing_refresh")
        as_of = scalar(database_url, "select date_trunc('milliseconds', as_of) from store.standing_stamp")
        assert datetime.fromisoformat(stale.headers["X-As-Of"]) == max(read_at, as_of)
        assert stale.headers["ETag"] == fresh.headers["ETag"]


async def test_it_is_refreshed_only_when_views_came(database_url: str, database: Database) -> None:
    owners = organizations(database_url)
    assert not await _again(database, START)
    sink = DatabaseSink(database_url, ROLLUPS)
    sink.write(batches([system("a")], owners))
    sink.close()
    assert not await _again(database, START)
    seen(database_url, owners, "ann")
    assert await _again(database, START)
    assert not await _again(database, START)


@pytest.mark.parametrize(
    ("began", "took", "due"),
    [
        ("1 second", "1 ms", False),
        ("3 seconds", "1 ms", True),
        ("59 minutes", "30 minutes", False),
        ("61 minutes", "30 minutes", True),
    ],
)
async def test_at_most_every_two_seconds_and_half_of_the_time(
    database_url: str, database: Database, began: str, took: str, due: bool
) -> None:
    seen(database_url, organizations(database_url), "ann")
    run(
        database_url,
        f"update store.standing_refresh set began_at = now() - interval '{began}', took = interval '{took}'",
    )
    assert await refresh_standings(database) == due


async def test_one_of_several_processes_refreshes(database_url: str) -> None:
    owners = organizations(database_url)
    pools = [Database(database_url) for _ in range(4)]
    for pool in pools:
        await pool.open()
    for turn in range(5):
        seen(database_url, owners, f"c{turn}")
        done: list[bool] = []
        async with asyncio.timeout(10):
            while not any(done):  # the last refresh took some time, and as much must be left to others
                done = await asyncio.gather(*(refresh_standings(pool, interval_s=0, now=START) for pool in pools))
        assert sum(done) == 1
    found = await all_time(pools[0], owners[0], 10)
    assert len(found.creators) == 5
    for pool in pools:
        await pool.close()


_REFRESHER = """
import asyncio, datetime, sys
from storage.database import Database
from storage.leaderboard import refresh_standings

async def main():
    database = Database(sys.argv[1])
    await database.open()
    now, done = datetime.datetime.now(datetime.UTC), 0
    while done < 4:
        # Another hour each time, so that there is always something to do, and the history is gathered too.
        now += datetime.timedelta(hours=1)
        done += await refresh_standings(database, interval_s=0, now=now)
    await database.close()

asyncio.run(main())
"""


async def test_two_processes_that_refresh_at_once_spoil_nothing(database_url: str, database: Database) -> None:
    owners = organizations(database_url)
    seen(database_url, owners, "ann", "bob")
    command = (sys.executable, "-c", _REFRESHER, database_url)
    processes = [await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE) for _ in range(2)]
    try:
        for number in range(4):
            seen(database_url, owners, f"c{number}")
        async with asyncio.timeout(60):
            for process in processes:
                _, errors = await process.communicate()
                assert process.returncode == 0, errors.decode()
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
    async with asyncio.timeout(10):
        while not (await all_time(database, owners[0], 1)).current:
            await refresh_standings(database, interval_s=0)
    assert [row["creator_id"] for row in (await all_time(database, owners[0], 10)).creators] == [
        "ann",
        "bob",
        "c0",
        "c1",
        "c2",
        "c3",
    ]


async def test_readers_are_not_held_up_by_a_refresh(database_url: str, database: Database) -> None:
    owners = organizations(database_url)
    seen(database_url, owners, "ann")
    assert await refresh_standings(database, interval_s=0)
    seen(database_url, owners, "bob")
    with connect(database_url, name="test") as refreshing, refreshing.transaction():
        refreshing.execute("refresh materialized view concurrently store.creator_history")
        refreshing.execute("refresh materialized view concurrently store.creator_ranking")
        # It has written all that it will, and holds every lock that it takes until it commits.
        async with asyncio.timeout(5):
            for board in get_args(Board):
                found = await standings(database, owners[0], board, limit=10, around="ann" if board == "all" else None)
                assert [row["creator_id"] for row in found.creators] == (["ann"] if board == "all" else [])
            # Nor are writers, nor another refresher, which leaves it to the first.
            seen(database_url, owners, "eve")
    assert len((await all_time(database, owners[0], 10)).creators) == 2


async def test_the_windows_move_on_at_a_quarter_of_an_hour(database_url: str, database: Database) -> None:
    owners = organizations(database_url)
    noon = START.replace(hour=12)
    assert not await refresh_standings(database, interval_s=0, now=noon)  # there is nothing that could leave a window
    seen(database_url, owners, "ann")
    assert await refresh_standings(database, interval_s=0, now=noon)
    for minutes, moves in ((14, False), (15, True), (29, False), (45, True)):
        now = noon + timedelta(minutes=minutes)
        assert await _again(database, now) == moves
        found = await standings(database, owners[0], "24h", limit=1)
        assert found.window_end == noon + timedelta(minutes=minutes // 15 * 15 + 15)
        assert found.current_at(now)
        assert not found.current_at(found.window_end)


async def _again(database: Database, now: datetime) -> bool:
    """Whether a refresh does something once the last one has had its rest."""
    run(database.url, "update store.standing_refresh set took = '0'")
    return await refresh_standings(database, interval_s=0, now=now)


async def test_what_comes_late_is_gathered_too(database_url: str, database: Database) -> None:
    owners = organizations(database_url)
    now = START + timedelta(days=20)

    async def ranked(board: Board) -> list[tuple[str, int | None]]:
        assert await _again(database, now)
        found = await standings(database, owners[0], board, limit=10)
        assert found.current_at(now)
        return [(row["creator_id"], row["previous_rank"]) for row in found.creators]

    seen(database_url, owners, "ann")
    assert await ranked("30d") == [("ann", None)]
    oid = "select xmin::text from store.creator_history limit 1"
    gathered = scalar(database_url, oid)
    seen(database_url, owners, "bob", time=now)
    assert await ranked("30d") == [("ann", None), ("bob", None)]
    assert scalar(database_url, oid) == gathered
    for name, days in (("eve", 3), ("eve2", 12), ("ann2", 50)):
        seen(database_url, owners, name, time=now - timedelta(days=days))
        await ranked("all")
    seen(database_url, owners, "ann3", time=now)
    assert await ranked("7d") == [("ann3", None), ("bob", None), ("eve", None)]
    run(database_url, "update store.standing_refresh set position = 0")
    assert await ranked("30d") == [(name, None) for name in ("ann", "ann3", "bob", "eve", "eve2")]
    run(database_url, "update store.standing_refresh set position = 0")
    assert [name for name, _ in await ranked("all")] == ["ann", "ann2", "ann3", "bob", "eve", "eve2"]


async def test_the_job_keeps_them_fresh(database_url: str, database: Database) -> None:
    owners = organizations(database_url)
    seen(database_url, owners, "ann")
    job = asyncio.create_task(keep_standings(database))
    async with asyncio.timeout(10):
        while not (await all_time(database, owners[0], 1)).current:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)


async def test_another_definition_replaces_the_view_and_is_filled_by_the_next_refresh(
    database_url: str, database: Database
) -> None:
    owners = organizations(database_url)
    seen(database_url, owners, "ann")
    assert await refresh_standings(database, interval_s=0)
    run(database_url, "comment on materialized view store.creator_ranking is 'of an older version'")
    oid = "select 'store.creator_ranking'::regclass::oid"
    before = scalar(database_url, oid)
    migrate(database_url, ROLLUPS)
    after = scalar(database_url, oid)
    assert before != after
    assert not (await all_time(database, owners[0], 1)).current
    assert await refresh_standings(database)
    assert (await all_time(database, owners[0], 1)).current
    with connect(database_url, name="test") as connection:
        ensure_standings(connection)
    assert scalar(database_url, oid) == after
