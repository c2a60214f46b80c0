"""The hub: hears of commits once and wakes every stream that they concern."""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from uuid import UUID

import structlog

from api.observation import Observation
from storage.database import Database, StorageUnavailable
from storage.feed import Commit, FeedEvent, FeedListener, events_after, reach

log = structlog.get_logger(__name__)

Cursor = tuple[int, int]
"""A place in the feed: the position of a commit and the item in it, both already told."""

END = 2**31 - 1
"""The item behind every item of a commit."""

TAIL_EVENTS = 20_000
"""Events of an organization kept in memory for its event streams. Who falls further behind is told `reset`."""


class Tail:
    """The newest events of one organization, read once for all its event streams. In it stands everything behind `start`."""

    def __init__(self, database: Database, organization: UUID, position: int) -> None:
        self._database = database
        self._organization = organization
        self.start: Cursor = (position, END)
        self.end: Cursor = (position, END)
        self.events: list[FeedEvent] = []
        self.followers = 0
        self.wakes = 0
        self._woken = asyncio.Event()
        self._reading = asyncio.Lock()

    def wake(self) -> None:
        """There is something new."""
        self.wakes += 1
        self._woken.set()
        self._woken = asyncio.Event()

    async def wait(self, wakes: int, seconds: float) -> bool:
        """Waits until there may be something new; False after so many `seconds` without.

        `wakes` is how often the tail had been woken before the caller looked: what came while it looked is not waited for again.
        """
        if self.wakes > wakes:
            return True
        try:
            await asyncio.wait_for(self._woken.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def after(self, cursor: Cursor, limit: int) -> list[FeedEvent]:
        """Events behind a cursor, at most about `limit`; an older cursor than the tail's start is read from the database."""
        if cursor < self.start:
            async with self._database.read(self._organization) as connection:
                return await events_after(connection, *cursor, limit=limit)
        if cursor >= self.end:
            await self._extend(cursor)
        at = bisect.bisect_right(self.events, cursor, key=lambda event: (event.position, event.item))
        return self.events[at : at + limit]

    async def _extend(self, cursor: Cursor) -> None:
        async with self._reading:
            if cursor < self.end:
                return
            async with self._database.read(self._organization) as connection:
                fresh = await events_after(connection, *self.end, limit=5_000)
            if fresh:
                self.events += fresh
                self.end = (fresh[-1].position, fresh[-1].item)
            if len(self.events) > TAIL_EVENTS:
                # Never what was just read: whoever waits for it has not had it yet.
                cut = min(len(self.events) - TAIL_EVENTS // 2, len(self.events) - len(fresh))
                if cut == 0:
                    return
                self.start = (self.events[cut - 1].position, self.events[cut - 1].item)
                del self.events[:cut]


class Topic:
    """One question whose answer is pushed: asked again after a commit that concerns it, at most once a second, for all its readers."""

    def __init__(self, ask: Callable[[], Awaitable[bytes]], interval_s: float) -> None:
        self._ask = ask
        self._interval_s = interval_s
        self._changed = asyncio.Event()
        self._told = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.readers = 0
        self.body: bytes | None = None
        self.error: Exception | None = None
        self.version = 0

    def start(self) -> None:
        """Begins to answer."""
        self._changed.set()
        self._task = asyncio.create_task(self._run(), name="state-topic")

    def stop(self) -> None:
        """Ends; who waits is let go."""
        if self._task is not None:
            self._task.cancel()
        self._told.set()

    def change(self) -> None:
        """The answer may be another now."""
        self._changed.set()

    async def wait(self, version: int, seconds: float) -> None:
        """Returns when the answer is newer than `version`, or after so many `seconds`."""
        if self.version > version:
            return
        try:
            await asyncio.wait_for(self._told.wait(), seconds)
        except TimeoutError:
            return

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            self._changed.clear()
            asked = loop.time()
            try:
                body = await self._ask()
                self.error = None
            except StorageUnavailable as error:
                # The streams stay open: the next commit, or the listener's return, asks again.
                log.warning("state_not_read", reason=str(error))
                await asyncio.sleep(self._interval_s)
                self._changed.set()
                continue
            except Exception as error:
                self.error, body = error, b""
                log.exception("state_failed")
            if body != self.body or self.error is not None:
                self.body = body
                self.version += 1
                self._told.set()
                self._told = asyncio.Event()
            await asyncio.sleep(max(0.0, self._interval_s - (loop.time() - asked)))


class Follower(Protocol):
    """Who wants to hear of every commit, and of when there was none."""

    def reading(self) -> Any:
        """The feed is about to be read; what this returns is handed back to `read`."""

    def read(self, reading: Any) -> None:
        """It was read to its end, and all commits from before `reading` were told."""

    def commits(self, commits: Sequence[Commit]) -> None:
        """These were committed."""

    def gap(self) -> None:
        """Commits may have been missed."""


class Hub:
    """Tells topics, tails and followers of commits. One an API process."""

    def __init__(self, database: Database, observation: Observation, *, interval_s: float = 1.0) -> None:
        self._database = database
        self._observation = observation
        self._interval_s = interval_s
        self._topics: dict[tuple[UUID, str, str], Topic] = {}
        self._tails: dict[UUID, Tail] = {}
        self._followers: list[Follower] = []
        self._listener = FeedListener(database, self._commits, self._gap, on_reading=self._reading)
        self.closing = asyncio.Event()

    @property
    def position(self) -> int:
        """The newest commit heard of."""
        return self._listener.position

    async def start(self) -> None:
        """Begins to listen."""
        await self._listener.start()

    async def stop(self) -> None:
        """Ends every stream, then the listening."""
        self.closing.set()
        for tail in self._tails.values():
            tail.wake()
        for topic in self._topics.values():
            topic.stop()
        await self._listener.stop()

    def follow(self, follower: Follower) -> None:
        """Tells it from now on."""
        self._followers.append(follower)

    def _reading(self) -> Callable[[], None]:
        readings = [(follower, follower.reading()) for follower in self._followers]

        def read() -> None:
            for follower, reading in readings:
                follower.read(reading)

        return read

    def _commits(self, commits: Sequence[Commit]) -> None:
        for follower in self._followers:
            follower.commits(commits)
        self._observation.feed_position.set(commits[-1].position)
        touched = {(commit.organization, commit.kind) for commit in commits}
        for (organization, kind, _), topic in self._topics.items():
            if (organization, kind) in touched:
                topic.change()
        for organization in {organization for organization, _ in touched}:
            if organization in self._tails:
                self._tails[organization].wake()

    def _gap(self) -> None:
        """Commits may have been missed: everything is asked again."""
        for follower in self._followers:
            follower.gap()
        for topic in self._topics.values():
            topic.change()
        for tail in self._tails.values():
            tail.wake()

    def join_topic(self, organization: UUID, kind: str, key: str, ask: Callable[[], Awaitable[bytes]]) -> Topic:
        """The topic of a question; readers of the same question share it. Leave it with `leave_topic`."""
        name = (organization, kind, key)
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(ask, self._interval_s)
            topic.start()
        topic.readers += 1
        return topic

    def leave_topic(self, organization: UUID, kind: str, key: str) -> None:
        """A reader is gone; the last one ends the topic."""
        name = (organization, kind, key)
        topic = self._topics[name]
        topic.readers -= 1
        if not topic.readers:
            topic.stop()
            del self._topics[name]

    def join_tail(self, organization: UUID) -> Tail:
        """The newest events of an organization. Leave it with `leave_tail`."""
        tail = self._tails.get(organization)
        if tail is None:
            tail = self._tails[organization] = Tail(self._database, organization, self.position)
        tail.followers += 1
        return tail

    def leave_tail(self, organization: UUID) -> None:
        """A follower is gone; the last one ends the tail."""
        tail = self._tails[organization]
        tail.followers -= 1
        if not tail.followers:
            del self._tails[organization]

    async def lost(self, cursor: Cursor) -> str | None:
        """Why a cursor cannot be continued: the feed no longer reaches back to it, or it is from another database's future."""
        first, head = await reach(self._database)
        if cursor[0] > head:
            return "cursor unknown"
        # Of a commit that is gone nobody can say whether there was an item behind the cursor's.
        return "cursor too old" if cursor < (first - 1, END) else None
