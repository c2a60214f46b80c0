"""Kept answers as tests see them: the cache of a service, questions to ask it, and how many of them its handlers answered."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from api.auth.tokens import OwnTokens
from api.cache.answers import ResponseCache
from storage import identity
from storage.feed import reach
from tests.integration.api_service import SECRET, Api, until, utc_now

STATS = "/api/v1/dashboard/stats"


def cache_of(api: Api) -> ResponseCache:
    cache = api.services.cache
    assert cache is not None
    return cache


async def confirmed(api: Api) -> None:
    """Returns once the feed was read, so that answers are kept."""
    await until(lambda: cache_of(api).in_use)


async def send(api: Api, *events: dict[str, Any]) -> None:
    """Sends events, and returns once the service has heard from the feed, too, that they were committed."""
    await api.send(events)
    _, head = await reach(api.services.database)
    await until(lambda: api.services.hub.position >= head)


async def cpu(api: Api, headers: dict[str, str] | None = None) -> Any:
    reply = await api.get(STATS, headers=headers)
    assert reply.status == 200, reply.text
    return reply.json["systemMetrics"]["cpuUsage"]


async def misses(api: Api, *asked: Any) -> int:
    """How many of these requests, one after the other, were answered by their handler."""
    before = cache_of(api).misses
    for one in asked:
        await one()
    return cache_of(api).misses - before


async def member(api: Api, role: str, organization: UUID | None = None) -> tuple[str, dict[str, str]]:
    """A new account in the organization: its id and the headers of its token."""
    database = api.services.database
    email = f"{role}-{api.organization.hex}-{time.perf_counter_ns()}@example.com"
    account = await identity.create_account(database, email, "hash")
    await identity.create_membership(database, account, organization or api.organization, role)  # type: ignore[arg-type]
    return str(account), {"Authorization": f"Bearer {OwnTokens(SECRET).issue(account, now=utc_now())}"}


@asynccontextmanager
async def locked(url: str, table: str) -> AsyncIterator[None]:
    """Nobody reads or writes a table while the block runs."""
    connection = await psycopg.AsyncConnection.connect(url)
    try:
        await connection.execute(
            sql.SQL("lock table {} in access exclusive mode").format(sql.Identifier("store", table))
        )
        yield
    finally:
        await connection.close()
