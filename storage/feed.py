"""The feed of commits: who committed what, in order; the listener that hears of it, and the events behind a position."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import structlog
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from aggregators.frames import cloud_event, schema
from storage.database import SERVICE_ROLE, AsyncConn, Database
from storage.rollup_query import plain_number
from storage.sink_sql import CHANNEL

log = structlog.get_logger(__name__)

_JSON = msgspec.json.Encoder(decimal_format="number")


class Commit(msgspec.Struct, frozen=True):
    """What one organization got of one kind in one batch. Positions rise in the order of the commits."""

    position: int
    organization: UUID
    kind: str
    batch: int
    events: int
    committed_at: dt.datetime


class FeedListener:
    """Tells of every commit, in order. A notification is only a hint: what happened is read from the feed itself.

    After a lost connection `on_gap` is called, since an unknown time went by, and then every commit that was missed is told.
    `on_reading` is called before the feed is read, at least every `poll_s` seconds, and what it returns when it was read to its end:
    every commit from before the first call has been told of by the second.
    """

    def __init__(
        self,
        database: Database,
        on_commits: Callable[[Sequence[Commit]], None],
        on_gap: Callable[[], None],
        *,
        on_reading: Callable[[], Callable[[], None]] = lambda: _nothing,
        poll_s: float = 0.5,
    ) -> None:
        self._database = database
        self._on_commits = on_commits
        self._on_gap = on_gap
        self._on_reading = on_reading
        self._poll_s = poll_s
        self._task: asyncio.Task[None] | None = None
        self._connected = False
        self.position = 0

    async def start(self) -> None:
        """Begins behind the newest commit."""
        async with self._database.service() as connection:
            self.position = await _head(connection)
        self._task = asyncio.create_task(self._run(), name="feed-listener")

    async def stop(self) -> None:
        """Ends listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except psycopg.Error as error:
                log.warning("feed_listener_lost", reason=type(error).__name__)
                self._on_gap()
                await asyncio.sleep(0.5)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self._database.url, autocommit=True, application_name="streamgauge feed", connect_timeout=5
        )
        async with connection:
            await connection.execute("select set_config('role', %s, false)", (SERVICE_ROLE,))
            await connection.execute(SQL("listen {}").format(Identifier(CHANNEL)))
            head = await _head(connection)
            if head < self.position:
                # Another server took over, without the newest commits: positions come a second time.
                log.warning("feed_went_back", position=self.position, head=head)
                self.position = head
            if self._connected:
                self._on_gap()
            self._connected = True
            while True:
                await self._read(connection)
                async for _ in connection.notifies(timeout=self._poll_s, stop_after=1):
                    pass

    async def _read(self, connection: AsyncConn) -> None:
        on_read = self._on_reading()
        while True:
            cursor = await connection.execute(
                "select position, organization, kind, batch, events, committed_at from store.feed"
                " where position > %s order by position limit 1000",
                (self.position,),
            )
            rows = await cursor.fetchall()
            if not rows:
                on_read()
                return
            self.position = rows[-1][0]
            self._on_commits([Commit(*row) for row in rows])


def _nothing() -> None:
    """For who does not want to know."""


async def _head(connection: AsyncConn) -> int:
    row = await (await connection.execute("select position from store.feed_head")).fetchone()
    assert row is not None
    return int(row[0])


class Watermark(msgspec.Struct, frozen=True):
    """How far an organization's data of some kinds has come: the last feed position and when that was committed.

    `time_zone` is the organization's: whoever reads its figures needs both.
    """

    position: int
    as_of: dt.datetime
    time_zone: str


async def watermark(connection: AsyncConn, *kinds: str) -> Watermark:
    """The watermark of these kinds inside an organization's read transaction; where nothing ever came, the organization's beginning.

    Only what an answer is made of counts: a host that measures itself every second must not make a P&L look new.
    """
    cursor = await connection.execute(
        "select coalesce(max(w.position), 0), coalesce(max(w.committed_at), min(o.created_at)), min(o.time_zone)"
        " from app.organization_profile o left join app.watermark w on w.kind = any(%s)",
        (list(kinds),),
    )
    row = await cursor.fetchone()
    if row is None or row[1] is None:
        return Watermark(0, dt.datetime(1970, 1, 1, tzinfo=dt.UTC), "UTC")
    return Watermark(int(row[0]), row[1], row[2])


async def positions(connection: AsyncConn, *kinds: str) -> list[int]:
    """The last feed position of each of these kinds inside an organization's read transaction; 0 where nothing ever came."""
    cursor = await connection.execute("select kind, position from app.watermark where kind = any(%s)", (list(kinds),))
    found = {kind: int(position) for kind, position in await cursor.fetchall()}
    return [found.get(kind, 0) for kind in kinds]


class FeedEvent(msgspec.Struct, frozen=True):
    """One event in feed order: `position` of its commit and `item`, its place in the batch; `event` is the CloudEvent in JSON."""

    position: int
    item: int
    kind: str
    event: bytes


async def reach(database: Database) -> tuple[int, int]:
    """The positions from which on and up to which the feed is kept, over all organizations."""
    async with database.service() as connection:
        head = await _head(connection)
        row = await (await connection.execute("select app.feed_tail()")).fetchone()
        return (int(row[0]) if row is not None else head + 1), head


async def events_after(connection: AsyncConn, position: int, item: int, *, limit: int) -> list[FeedEvent]:
    """At least one commit's events behind a cursor, whole commits up to about `limit` events; none where there are none."""
    found: list[FeedEvent] = []
    while True:
        cursor = await connection.execute(
            "select position, kind, batch, first_time, last_time from app.feed where position >= %s order by position limit 200",
            (position,),
        )
        commits = await cursor.fetchall()
        for at, kind, batch, first, last in commits:
            after = item if at == position else -1
            found += await _batch_events(connection, at, kind, batch, first, last, after)
            if len(found) >= limit:
                return found
        if found or len(commits) < 200:
            return found
        # All of them are commits whose raw events are gone: what comes after them is not.
        position, item = commits[-1][0] + 1, -1


async def _batch_events(
    connection: AsyncConn, position: int, kind: str, batch: int, first: dt.datetime, last: dt.datetime, after: int
) -> list[FeedEvent]:
    names = [*schema(kind), "item"]
    listed = SQL(", ").join(
        SQL("metrics::text as metrics") if name == "metrics" else Identifier(name) for name in names
    )
    statement = SQL(
        "select {} from {} where time >= %s and time <= %s and batch = %s and item > %s order by item"
    ).format(listed, Identifier("app", f"event_{kind}"))
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, (first, last, batch, after))
        return [FeedEvent(position, row["item"], kind, encode(kind, row)) async for row in cursor]


def encode(kind: str, row: dict[str, Any]) -> bytes:
    """The CloudEvent of a raw row, in JSON with exact numbers."""
    row = {name: plain_number(value) for name, value in row.items()}
    return _JSON.encode(cloud_event(kind, row))
