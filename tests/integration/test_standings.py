"""The creators' standings are refreshed when views came, at their pace and by one process; until then the board says how old it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

import pytest

from aggregators.definitions import ROLLUPS
from jobs.standings import keep_standings
from storage.database import Database, connect
from storage.leaderboard import ensure_standings, refresh_standings, top_creators
from storage.migrate import migrate
from storage.sink import DatabaseSink
from tests.integration.api_service import running
from tests.integration.stored import organizations, run, scalar
from tests.samples import batches, system, view


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool over the test's database."""
    pool = Database(database_url)
    await pool.open()
    yield pool
    await pool.close()


def seen(url: str, owners: list[UUID], *names: str) -> None:
    """A view of each of these creators' videos, by the first organization."""
    sink = DatabaseSink(url, ROLLUPS)
    sink.write(batches([view(name, creator_id=name, video_id=name) for name in names], owners))
    sink.close()


async def test_what_is_read_is_what_was_refreshed_and_says_so(database_url: str, database: Database) -> None:
    owners = organizations(database_url)
    before = await top_creators(database, owners[0], 10)
    assert (before.creators, before.current, before.read_at) == ([], True, None)
    seen(database_url, owners, "ann", "bob")
    stale = await top_creators(database, owners[0], 10)
    assert (stale.creators, stale.current, stale.as_of) == ([], False, before.as_of)
    assert await refresh_standings(database, interval_s=0)
    found = await top_creators(database, owners[0], 10)
    assert [row["creator_id"] for row in found.creators] == ["ann", "bob"]
    assert found.current
    committed = scalar(database_url, "select committed_at from store.watermark where kind = 'view'")
    assert found.as_of == committed
    assert found.read_at is not None
    seen(database_url, owners, "eve")
    again = await top_creators(database, owners[0], 10)
    assert (again.creators, again.as_of, again.current) == (found.creators, found.as_of, False)
    # Another organization sees nothing of it, and is as fresh as ever.
    other = await top_creators(database, owners[1], 10)
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
    assert not await refresh_standings(database, interval_s=0)
    sink = DatabaseSink(database_url, ROLLUPS)
    sink.write(batches([system("a")], owners))
    sink.close()
    assert not await refresh_standings(database, interval_s=0)
    seen(database_url, owners, "ann")
    assert await refresh_standings(database, interval_s=0)
    assert not await refresh_standings(database, interval_s=0)


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
                done = await asyncio.gather(*(refresh_standings(pool, interval_s=0) for pool in pools))
        assert sum(done) == 1
    found = await top_creators(pools[0], owners[0], 10)
    assert len(found.creators) == 5
    for pool in pools:
        await pool.close()


async def test_the_job_keeps_them_fresh(database_url: str, database: Database) -> None:
    owners = organizations(database_url)
    seen(database_url, owners, "ann")
    job = asyncio.create_task(keep_standings(database))
    async with asyncio.timeout(10):
        while not (await top_creators(database, owners[0], 1)).current:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)


async def test_another_definition_replaces_the_view_and_is_filled_by_the_next_refresh(
    database_url: str, database: Database
) -> None:
    owners = organizations(database_url)
    seen(database_url, owners, "ann")
    assert await refresh_standings(database, interval_s=0)
    run(database_url, "comment on materialized view store.creator_standing is 'of an older version'")
    oid = "select 'store.creator_standing'::regclass::oid"
    before = scalar(database_url, oid)
    migrate(database_url, ROLLUPS)
    after = scalar(database_url, oid)
    assert before != after
    assert not (await top_creators(database, owners[0], 1)).current
    assert await refresh_standings(database)
    assert (await top_creators(database, owners[0], 1)).current
    with connect(database_url, name="test") as connection:
        ensure_standings(connection)
    assert scalar(database_url, oid) == after
