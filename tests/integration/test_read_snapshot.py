"""A read leaves nothing behind on its connection, however it ends: no open transaction, no role, no organization."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from storage.database import Database, QueryTooSlow, StorageFault


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool of one connection, so that each use meets what the one before left."""
    database = Database(database_url, size=1, statement_timeout_s=0.5)
    await database.open()
    yield database
    await database.close()


async def left_behind(database: Database) -> tuple[str, str, str]:
    """Role, organization and isolation that the next user of the connection finds."""
    async with database.owner() as connection:
        cursor = await connection.execute(
            "select current_setting('role'), coalesce(current_setting('app.organization', true), ''),"
            " current_setting('transaction_isolation')"
        )
        row = await cursor.fetchone()
        assert row is not None
        return row[0], row[1], row[2]


CLEAN = ("none", "", "read committed")


async def test_a_read_is_one_read_only_snapshot_under_the_apis_role(database: Database) -> None:
    organization = uuid4()
    async with database.read(organization) as connection:
        cursor = await connection.execute(
            "select current_setting('role'), app.organization(), current_setting('transaction_isolation'),"
            " current_setting('transaction_read_only')"
        )
        assert await cursor.fetchone() == ("streamgauge_api", organization, "repeatable read", "on")
    assert await left_behind(database) == CLEAN


async def test_nothing_is_left_after_an_error_of_ours(database: Database) -> None:
    with pytest.raises(ValueError, match="ours"):
        async with database.read(uuid4()):
            raise ValueError("ours")
    assert await left_behind(database) == CLEAN


async def test_nothing_is_left_after_an_error_of_the_databases(database: Database) -> None:
    with pytest.raises(StorageFault):
        async with database.read(uuid4()) as connection:
            await connection.execute("select 1 from store.api_key")
    assert await left_behind(database) == CLEAN
    with pytest.raises(QueryTooSlow):
        async with database.read(uuid4()) as connection:
            await connection.execute("select pg_sleep(60)")
    assert await left_behind(database) == CLEAN


async def test_nothing_is_left_where_the_reader_went_away(database: Database) -> None:
    begun = asyncio.Event()

    async def reader() -> None:
        async with database.read(uuid4()) as connection:
            begun.set()
            await connection.execute("select pg_sleep(60)")

    task = asyncio.create_task(reader())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await left_behind(database) == CLEAN
