"""The direct log: accepted batches go straight to the sink, gathered into one transaction while the last one commits."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, Protocol, cast, runtime_checkable

from ingest.log import Batch, Outcome, Packed, Refusal, Sink, Unavailable
from ingest.telemetry import Telemetry

WHOLE_EVENTS = 10_000
"""So many events that wait are never divided: what another transaction costs would be more than what it saves."""

_Group = list[tuple[Packed, asyncio.Future[list[Refusal]]]]


@runtime_checkable
class ForesightedSink(Protocol):
    """A sink that can do a part of a group's work while it writes another one. Its methods block; they are called from threads."""

    def pack(self, batch: Batch) -> Packed:
        """Does what can be done for a batch by itself."""

    def prepare(self, group: Sequence[Any]) -> Any:
        """Does what needs no database for batches, packed or not; called while another thread is in `write`."""

    def write(self, group: Sequence[Any], prepared: Any) -> Outcome:
        """Counts every event once, as ingest.log.Sink does, with what `prepare` made of the same batches."""


class DirectLog:
    """Group commit over a bounded queue.

    A batch that finds the sink idle is written at once; those that arrive meanwhile are written together by the next
    transaction, at most `group_events` events of them, and of many no more than half of what is under way: the other half is
    prepared meanwhile. Else senders that wait for their answers would come back all at once, to a sink that has waited for them.
    Where more than `queue_events` events wait, `publish` raises Unavailable.

    While one group is written, the next is prepared: when half of the time is over that the last one took, or as many events
    wait as are being written, so that neither the groups get small nor the database waits for them. Groups are written one at a
    time, in the order in which they came.

    `computing` is where groups are prepared. It should be the one thread in which requests are decoded, too: Python computes in
    one thread at a time anyway, and the thread that writes, which needs Python for moments only, would wait for each of those
    behind every thread that computes.
    """

    def __init__(
        self,
        sink: Sink,
        telemetry: Telemetry,
        *,
        queue_events: int = 100_000,
        group_events: int = 50_000,
        whole_events: int = WHOLE_EVENTS,
        computing: Executor | None = None,
    ) -> None:
        self._sink = sink
        self._computing = computing
        self._telemetry = telemetry
        self._queue_events = queue_events
        self._group_events = group_events
        self._whole_events = whole_events
        self._waiting: deque[tuple[Packed, asyncio.Future[list[Refusal]]]] = deque()
        self._waiting_events = 0
        self._prepared_events = 0
        self._seconds = 0.0
        self._wake = asyncio.Event()
        self._closing = False
        self._writer = asyncio.create_task(self._run(), name="direct-log")

    def pack(self, batch: Batch) -> Packed:
        """See ingest.log.Log."""
        return self._sink.pack(batch) if isinstance(self._sink, ForesightedSink) else batch

    async def publish(self, batch: Batch | Packed) -> list[Refusal]:
        """Returns after the commit. See ingest.log.Log."""
        if self._closing:
            raise Unavailable("the service is stopping")
        queued = self._waiting_events + self._prepared_events
        if queued and queued + batch.size > self._queue_events:
            raise Unavailable("the queue of events is full")
        answer: asyncio.Future[list[Refusal]] = asyncio.get_running_loop().create_future()
        self._waiting.append((batch, answer))
        self._waiting_events += batch.size
        self._telemetry.queued(queued + batch.size)
        self._wake.set()
        # A caller that goes away must not take its batch out of the group that is being written.
        return await asyncio.shield(answer)

    async def close(self) -> None:
        """Writes what waits, then ends."""
        self._closing = True
        self._wake.set()
        await self._writer

    async def _run(self) -> None:
        writing: asyncio.Task[None] | None = None
        written = 0
        begun = 0.0
        while True:
            while not self._waiting and not self._closing:
                self._wake.clear()
                await self._wake.wait()
            if writing is not None:
                await self._enough(writing, written, begun + self._seconds / 2)
            if not self._waiting:
                break
            group = self._take(written if writing is not None and not writing.done() else 0)
            written = _events(group)
            prepared = None
            if writing is not None and not writing.done():
                self._prepared_events = written
                prepared = await self._prepare(group)
                await writing
                self._prepared_events = 0
            self._telemetry.queued(self._waiting_events)
            writing = asyncio.create_task(self._commit(group, prepared))
            begun = time.perf_counter()
        if writing is not None:
            await writing

    async def _enough(self, writing: asyncio.Task[None], events: int, moment: float) -> None:
        """Waits until the next group can be prepared: so many events wait, or the moment has come. Not after the end of `writing`."""
        ahead = isinstance(self._sink, ForesightedSink)
        while not writing.done():
            left = moment - time.perf_counter()
            if ahead and self._waiting and (left <= 0 or self._waiting_events >= events):
                return
            self._wake.clear()
            arrival = asyncio.create_task(self._wake.wait())
            timeout = left if ahead and self._waiting else None
            await asyncio.wait([writing, arrival], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            arrival.cancel()

    async def _prepare(self, group: _Group) -> Any:
        """What the sink can do ahead; None where it can do nothing."""
        if not isinstance(self._sink, ForesightedSink):
            return None
        try:
            batches = [batch for batch, _ in group]
            return await asyncio.get_running_loop().run_in_executor(self._computing, self._sink.prepare, batches)
        except Exception:
            # The sink meets the same trouble again when it writes the group, and there it is answered and counted.
            return None

    def _take(self, written: int) -> _Group:
        """The next group, while `written` events are being written."""
        most = min(self._group_events, max(self._whole_events, (self._waiting_events + written) // 2))
        group = [self._waiting.popleft()]
        events = group[0][0].size
        while self._waiting and events + self._waiting[0][0].size <= most:
            group.append(self._waiting.popleft())
            events += group[-1][0].size
        self._waiting_events -= events
        return group

    async def _commit(self, group: _Group, prepared: Any) -> None:
        started = time.perf_counter()
        batches = [batch for batch, _ in group]
        try:
            outcome: Outcome = await (
                asyncio.to_thread(self._sink.write, batches, prepared)
                if isinstance(self._sink, ForesightedSink)
                else asyncio.to_thread(self._sink.write, cast("list[Batch]", batches))
            )
        except Exception as error:
            self._telemetry.failed(error)
            failure = error if isinstance(error, Unavailable) else Unavailable("the events could not be stored")
            for _, answer in group:
                if not answer.done():
                    answer.set_exception(failure)
                    answer.exception()  # a caller that went away leaves nobody to look at it
            return
        self._seconds = time.perf_counter() - started
        self._telemetry.committed(outcome, self._seconds)
        for (_, answer), refusals in zip(group, outcome.refusals, strict=True):
            if not answer.done():
                answer.set_result(refusals)


def _events(group: _Group) -> int:
    return sum(batch.size for batch, _ in group)
