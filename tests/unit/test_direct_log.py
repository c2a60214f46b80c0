"""The direct log over a sink of the test's own: gathers, bounds, survives callers that go away and sinks that fail, drains."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from ingest.direct import DirectLog
from ingest.log import Batch, Outcome, Refusal, Unavailable
from tests.samples import accepted, system


class GatedSink:
    """A sink that waits at a gate before each write, so that a test decides how long the database takes."""

    def __init__(self) -> None:
        self.groups: list[list[Batch]] = []
        self.gate = threading.Semaphore(0)
        self.failures: list[Exception] = []
        self.entered = threading.Semaphore(0)

    def write(self, batches: Sequence[Batch]) -> Outcome:
        """Notes the group; refuses events called `bad`."""
        self.groups.append(list(batches))
        self.entered.release()
        assert self.gate.acquire(timeout=10)
        if self.failures:
            raise self.failures.pop(0)
        refusals = [
            [Refusal(place, "event: refused") for place, event in enumerate(batch.events) if event.id == "bad"]
            for batch in batches
        ]
        return Outcome(refusals, sum(len(batch.events) for batch in batches), 0)

    async def busy(self) -> None:
        """Returns once the sink is inside a write."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=10)

    def open(self, times: int = 1_000) -> None:
        """Lets writes through."""
        self.gate.release(times)


class Heard:
    """Telemetry that is kept."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.outcomes: list[Outcome] = []
        self.failures: list[BaseException] = []

    def queued(self, events: int) -> None:
        """Keeps it."""
        self.waiting.append(events)

    def committed(self, outcome: Outcome, seconds: float) -> None:
        """Keeps it."""
        assert seconds >= 0
        self.outcomes.append(outcome)

    def failed(self, error: BaseException) -> None:
        """Keeps it."""
        self.failures.append(error)


def batch(*names: str) -> Batch:
    """A batch of events with these ids."""
    return Batch(UUID(int=1), accepted([system(name) for name in names]))


@asynccontextmanager
async def running(
    sink: GatedSink, *, queue_events: int = 100, group_events: int = 50
) -> AsyncIterator[tuple[DirectLog, Heard]]:
    """A direct log that is closed at the end, whatever happened."""
    heard = Heard()
    log = DirectLog(sink, heard, queue_events=queue_events, group_events=group_events)
    try:
        yield log, heard
    finally:
        sink.open()
        await log.close()


async def started(count: int) -> None:
    """Gives tasks that were just created the turns they need to reach the queue."""
    for _ in range(count * 2 + 2):
        await asyncio.sleep(0)


async def test_batches_that_meet_a_busy_sink_are_written_together() -> None:
    sink = GatedSink()
    async with running(sink) as (log, heard):
        first = asyncio.create_task(log.publish(batch("a")))
        await sink.busy()
        others = [asyncio.create_task(log.publish(batch(f"b{n}", "bad", f"c{n}"))) for n in range(20)]
        await started(20)
        assert not first.done()
        sink.open()
        assert await first == []
        assert await asyncio.gather(*others) == [[Refusal(1, "event: refused")]] * 20
    assert len(sink.groups) <= 4
    assert max(sum(len(one.events) for one in group) for group in sink.groups) <= 50
    assert heard.waiting[-1] == 0
    assert max(heard.waiting) == 60
    assert sum(outcome.counted for outcome in heard.outcomes) == 61


async def test_a_pile_is_divided_so_that_one_half_is_prepared_while_the_other_is_written() -> None:
    sink = GatedSink()
    log = DirectLog(sink, Heard(), queue_events=100, group_events=100, whole_events=10)
    first = asyncio.create_task(log.publish(batch("first")))
    await sink.busy()
    others = [asyncio.create_task(log.publish(batch(*(f"{n}-{m}" for m in range(4))))) for n in range(10)]
    await started(10)
    sink.open()
    await asyncio.gather(first, *others)
    await log.close()
    # Half of 40, of the 20 that are left not less than 10, and what is left is no pile.
    assert [sum(len(one.events) for one in group) for group in sink.groups] == [1, 20, 8, 8, 4]


async def test_a_batch_larger_than_a_group_is_written_alone() -> None:
    sink = GatedSink()
    sink.open()
    async with running(sink, group_events=2) as (log, _):
        assert await log.publish(batch("a", "b", "c", "bad")) == [Refusal(3, "event: refused")]
    assert [len(group) for group in sink.groups] == [1]


async def test_a_full_queue_is_unavailable_and_takes_events_again_later() -> None:
    sink = GatedSink()
    async with running(sink, queue_events=6, group_events=2) as (log, _):
        first = asyncio.create_task(log.publish(batch("first")))
        await sink.busy()
        tasks = []
        for number in range(40):
            tasks.append(asyncio.create_task(log.publish(batch(f"e{number}"))))
            await started(1)
        refused = [number for number, task in enumerate(tasks) if task.done()]
        # Besides the queue there is at most one group that is made ready while another one is written.
        assert 40 - 6 - 2 <= len(refused) <= 40 - 6
        for number in refused:
            with pytest.raises(Unavailable, match="full") as caught:
                await tasks[number]
            assert caught.value.retry_after > 0
        sink.open()
        taken = [number for number in range(40) if number not in refused]
        assert await asyncio.gather(first, *(tasks[number] for number in taken)) == [[]] * (len(taken) + 1)
        assert await log.publish(batch("last")) == []
    ids = [event.id for group in sink.groups for one in group for event in one.events]
    assert ids == ["first", *(f"e{number}" for number in taken), "last"]


async def test_a_caller_that_goes_away_takes_nobody_along() -> None:
    sink = GatedSink()
    async with running(sink) as (log, _):
        first = asyncio.create_task(log.publish(batch("a")))
        await sink.busy()
        waiting = [asyncio.create_task(log.publish(batch(name))) for name in ("b", "c", "d")]
        await started(3)
        first.cancel()
        waiting[1].cancel()
        await asyncio.gather(first, waiting[1], return_exceptions=True)
        sink.open()
        assert [await waiting[0], await waiting[2]] == [[], []]
    assert first.cancelled()
    # What was handed over is written nevertheless: its sender will send it again, and it is known.
    assert [event.id for group in sink.groups for one in group for event in one.events] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("failure", "message"),
    [(Unavailable("the disk is full", 7.0), "the disk is full"), (ZeroDivisionError("secret"), "could not be stored")],
)
async def test_a_failing_sink_fails_its_group_and_no_other(failure: Exception, message: str) -> None:
    sink = GatedSink()
    sink.failures = [failure]
    async with running(sink) as (log, heard):
        first = asyncio.create_task(log.publish(batch("a")))
        await sink.busy()
        sink.open()
        with pytest.raises(Unavailable, match=message) as caught:
            await first
        assert "secret" not in str(caught.value)
        assert await log.publish(batch("a")) == []
    assert heard.failures == [failure]


async def test_a_group_that_fails_fails_for_each_of_its_callers_even_those_that_left() -> None:
    sink = GatedSink()
    async with running(sink) as (log, _):
        first = asyncio.create_task(log.publish(batch("a")))
        await sink.busy()
        waiting = [asyncio.create_task(log.publish(batch(name))) for name in ("b", "c", "d")]
        await started(3)
        waiting[1].cancel()
        sink.open(1)
        assert await first == []
        sink.failures = [Unavailable("gone")]
        sink.open()
        found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in found] == [Unavailable, asyncio.CancelledError, Unavailable]


async def test_closing_writes_what_waits_and_takes_no_more() -> None:
    sink = GatedSink()
    log = DirectLog(sink, Heard(), group_events=1)
    tasks = [asyncio.create_task(log.publish(batch(f"e{n}"))) for n in range(5)]
    await sink.busy()
    closing = asyncio.create_task(log.close())
    await started(1)
    with pytest.raises(Unavailable, match="stopping"):
        await log.publish(batch("late"))
    assert not closing.done()
    sink.open()
    await closing
    assert [task.result() for task in tasks] == [[]] * 5
    assert len(sink.groups) == 5


async def test_an_idle_log_closes_at_once() -> None:
    sink = GatedSink()
    log = DirectLog(sink, Heard())
    await asyncio.wait_for(log.close(), 5)
    assert sink.groups == []
