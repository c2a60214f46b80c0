"""The outbox of a running collector: what it measured goes out in order, and waits where nobody takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import structlog

from ingest.collectors.backoff import Backoff
from ingest.collectors.spool import Spool
from ingest.events import Event

Publish = Callable[[list[Event]], Awaitable[None]]
"""Takes events and returns once they are safe, or raises. `Client.publish` is one, the log behind a closure another."""

BATCH_EVENTS = 1_000
"""Events handed on at once."""

_log = structlog.get_logger(__name__)


class Outbox:
    """Hands events to `publish`, one batch at a time. A batch that fails stays in the spool and is tried again with `backoff`.

    An outage is logged when it begins and when it ends, not at every attempt.
    """

    def __init__(
        self,
        publish: Publish,
        spool: Spool,
        *,
        name: str,
        random: Random,
        backoff: Backoff | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._publish = publish
        self._spool = spool
        self._name = name
        self._random = random
        self._backoff = backoff or Backoff()
        self._sleep = sleep
        self._filled = asyncio.Event()
        if len(spool):
            self._filled.set()

    def put(self, events: Sequence[Event]) -> None:
        """Adds events at the end; never waits for the server."""
        self._spool.put(events)
        self._filled.set()

    async def run(self) -> None:
        """Sends until it is cancelled; what waits then stays in the spool."""
        attempt = dropped = 0
        while True:
            if not len(self._spool):
                self._filled.clear()
                await self._filled.wait()
            # Taken anew at each attempt, so that what the spool drops meanwhile is truly not sent.
            events = self._spool.first(BATCH_EVENTS)
            try:
                await self._publish(events)
            except Exception as error:
                # Whatever the port raises, the events are kept; the reason is told once, when the outage begins.
                if attempt == 0:
                    dropped = self._spool.dropped
                    _log.warning("publish_failed", collector=self._name, reason=f"{type(error).__name__}: {error}")
                await self._sleep(self._backoff.delay(attempt, self._random))
                attempt += 1
                continue
            self._spool.remove(events)
            if attempt:
                lost = self._spool.dropped - dropped
                _log.info(
                    "publish_recovered", collector=self._name, attempts=attempt, waiting=len(self._spool), dropped=lost
                )
                attempt = 0
