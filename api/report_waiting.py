"""Requests that wait for a report: each is woken when its run is over, or comes a step further, wherever that is made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from aiohttp import web


class RunWaiters:
    """Who waits for which run, in this process: for its end, or for every step of it."""

    def __init__(self) -> None:
        self._waiting: dict[UUID, set[asyncio.Event]] = {}
        self._following: dict[UUID, set[asyncio.Event]] = {}

    @contextmanager
    def waiting(self, run: UUID) -> Iterator[asyncio.Event]:
        """An event that is set when the run may be over, until the block ends."""
        with _among(self._waiting, run) as event:
            yield event

    @contextmanager
    def following(self, run: UUID, organization: UUID) -> Iterator[asyncio.Event]:
        """An event that is set when the run, or its organization's line, may have come further, until the block ends."""
        with _among(self._following, run, organization) as event:
            yield event

    def over(self, run: UUID) -> None:
        """The run is over."""
        for event in self._waiting.get(run, ()):
            event.set()
        self.moved(run)

    def moved(self, which: UUID) -> None:
        """This run came further, or the line of this organization did."""
        for event in self._following.get(which, ()):
            event.set()

    def missed(self) -> None:
        """Any of them may have come further, or be over."""
        for run in list(self._waiting):
            self.over(run)
        for which in list(self._following):
            self.moved(which)


@contextmanager
def _among(waiting: dict[UUID, set[asyncio.Event]], *places: UUID) -> Iterator[asyncio.Event]:
    event = asyncio.Event()
    for place in places:
        waiting.setdefault(place, set()).add(event)
    try:
        yield event
    finally:
        for place in places:
            waiting[place].discard(event)
            if not waiting[place]:
                del waiting[place]


RUN_WAITERS = web.AppKey("run_waiters", RunWaiters)
"""Where the application holds them."""
