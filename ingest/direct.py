"""The direct log: accepted batches go straight to the sink, gathered into one transaction while the last one commits."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from ingest.log import Batch, Outcome, Refusal, Sink, Unavailable
from ingest.telemetry import Telemetry


class DirectLog:
    """Group commit over a bounded queue.

    A batch that finds the sink idle is written at once; those that arrive meanwhile are written together by the next
    transaction, at most `group_events` events of them. Where more than `queue_events` events wait, `publish` raises Unavailable.
    """

    def __init__(
        self, sink: Sink, telemetry: Telemetry, *, queue_events: int = 100_000, group_events: int = 20_000
    ) -> None:
        self._sink = sink
        self._telemetry = telemetry
        self._queue_events = queue_events
        self._group_events = group_events
        self._waiting: deque[tuple[Batch, asyncio.Future[list[Refusal]]]] = deque()
        self._waiting_events = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._writer = asyncio.create_task(self._run(), name="direct-log")

    async def publish(self, batch: Batch) -> list[Refusal]:
        """Returns after the commit. See ingest.log.Log."""
        if self._closing:
            raise Unavailable("the service is stopping")
        if self._waiting and self._waiting_events + len(batch.events) > self._queue_events:
            raise Unavailable("the queue of events is full")
        answer: asyncio.Future[list[Refusal]] = asyncio.get_running_loop().create_future()
        self._waiting.append((batch, answer))
        self._waiting_events += len(batch.events)
        self._telemetry.queued(self._waiting_events)
        self._wake.set()
        # A caller that goes away must not take its batch out of the group that is being written.
        return await asyncio.shield(answer)

    async def close(self) -> None:
        """Writes what waits, then ends."""
        self._closing = True
        self._wake.set()
        await self._writer

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            while self._waiting:
                await self._commit(self._take())
            self._wake.clear()
            if self._closing:
                return

    def _take(self) -> list[tuple[Batch, asyncio.Future[list[Refusal]]]]:
        group = [self._waiting.popleft()]
        events = len(group[0][0].events)
        while self._waiting and events + len(self._waiting[0][0].events) <= self._group_events:
            group.append(self._waiting.popleft())
            events += len(group[-1][0].events)
        self._waiting_events -= events
        self._telemetry.queued(self._waiting_events)
        return group

    async def _commit(self, group: list[tuple[Batch, asyncio.Future[list[Refusal]]]]) -> None:
        started = time.perf_counter()
        try:
            outcome: Outcome = await asyncio.to_thread(self._sink.write, [batch for batch, _ in group])
        except Exception as error:
            self._telemetry.failed(error)
            failure = error if isinstance(error, Unavailable) else Unavailable("the events could not be stored")
            for _, answer in group:
                if not answer.done():
                    answer.set_exception(failure)
                    answer.exception()  # a caller that went away leaves nobody to look at it
            return
        self._telemetry.committed(outcome, time.perf_counter() - started)
        for (_, answer), refusals in zip(group, outcome.refusals, strict=True):
            if not answer.done():
                answer.set_result(refusals)
