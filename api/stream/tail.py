"""The tail: the newest events of one organization, read once and kept for all its event streams."""

from __future__ import annotations

import asyncio
import bisect
from collections import OrderedDict
from collections.abc import Callable
from uuid import UUID

from storage.database import Database
from storage.feed import FeedEvent, events_after

Cursor = tuple[int, int]
"""A place in the feed: the position of a commit and the item in it, both already told."""

END = 2**31 - 1
"""The item behind every item of a commit."""

TAIL_EVENTS = 20_000
"""Events of an organization kept in memory for its event streams. Who falls further behind is told `reset`."""

_SHARED = 8
"""Made frames that are kept: readers of one place and filter ask for them right after each other."""


class Tail:
    """The newest events of one organization. In it stands everything behind `start`, up to `end`."""

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
        self._shared: OrderedDict[tuple[Cursor, Cursor, str], bytes] = OrderedDict()

    def wake(self) -> None:
        """There is something new."""
        self.wakes += 1
        self._woken.set()
        self._woken = asyncio.Event()

    async def wait(self, wakes: int) -> None:
        """Waits until there may be something new.

        `wakes` is how often the tail had been woken before the caller looked: what came while it looked is not waited for again.
        """
        if self.wakes == wakes:
            await self._woken.wait()

    async def after(self, cursor: Cursor, limit: int, heard: int) -> list[FeedEvent]:
        """Events behind a cursor, at most about `limit`; an older cursor than the tail's start is read from the database.

        `heard` is a position up to which the organization's commits are known to be there: where nothing is found behind
        a cursor, nothing is there up to it, and nobody asks for that again.
        """
        if cursor < self.start:
            async with self._database.read(self._organization) as connection:
                return await events_after(connection, *cursor, limit=limit)
        if cursor >= self.end:
            await self._extend(cursor, heard)
        at = bisect.bisect_right(self.events, cursor, key=lambda event: (event.position, event.item))
        return self.events[at : at + limit]

    def shared(self, cursor: Cursor, found: list[FeedEvent], name: str, made: Callable[[], bytes]) -> bytes:
        """What is told of the events found behind a cursor: made once for all readers who see the same, as `name` says."""
        key = (cursor, (found[-1].position, found[-1].item), name)
        frames = self._shared.get(key)
        if frames is None:
            frames = self._shared[key] = made()
            if len(self._shared) > _SHARED:
                self._shared.popitem(last=False)
        return frames

    async def _extend(self, cursor: Cursor, heard: int) -> None:
        async with self._reading:
            if cursor < self.end:
                return
            async with self._database.read(self._organization) as connection:
                fresh = await events_after(connection, *self.end, limit=5_000)
            if not fresh:
                self.end = max(self.end, (heard, END))
                return
            self.events += fresh
            self.end = (fresh[-1].position, fresh[-1].item)
            if len(self.events) > TAIL_EVENTS:
                # Never what was just read: whoever waits for it has not had it yet.
                cut = min(len(self.events) - TAIL_EVENTS // 2, len(self.events) - len(fresh))
                if cut == 0:
                    return
                self.start = (self.events[cut - 1].position, self.events[cut - 1].item)
                del self.events[:cut]
