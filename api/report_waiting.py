"""Requests that wait for a report: each is woken when its run is over, wherever that was made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from aiohttp import web


class RunWaiters:
    """Who waits for which run, in this process."""

    def __init__(self) -> None:
        self._waiting: dict[UUID, set[asyncio.Event]] = {}

    @contextmanager
    def waiting(self, run: UUID) -> Iterator[asyncio.Event]:
        """An event that is set when the run may be over, until the block ends."""
        event = asyncio.Event()
        self._waiting.setdefault(run, set()).add(event)
        try:
            yield event
        finally:
            waiting = self._waiting[run]
            waiting.discard(event)
            if not waiting:
                del self._waiting[run]

    def over(self, run: UUID) -> None:
        """The run is over."""
        for event in self._waiting.get(run, ()):
            event.set()

    def missed(self) -> None:
        """Any of them may be over."""
        for run in list(self._waiting):
            self.over(run)


RUN_WAITERS = web.AppKey("run_waiters", RunWaiters)
"""Where the application holds them."""
