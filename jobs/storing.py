"""Storing: a group of a worker's records goes into the database, once what cannot go there is put away."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import structlog

from ingest.kafka.cluster import Cluster
from ingest.kafka.dead_letters import to_record
from ingest.kafka.intake import Dead, Stray, Taken, refused
from ingest.kafka.producer import Producer
from ingest.kafka.records import Record
from ingest.log import DeadLetter, Outcome, Packed, Position, Unavailable
from ingest.telemetry import LogTelemetry
from storage.group import PackedBatch
from storage.sink import DatabaseSink

log = structlog.get_logger(__name__)

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0
DEAD_LETTER_WINDOW_S = 600.0


class TooManyDeadLetters(Exception):
    """More records cannot be counted than a few bad ones: something is wrong with this version or its settings."""


@dataclass
class Group:
    """Records that are written in one transaction; `prepared` is what the sink made of the batches ahead."""

    taken: Taken
    positions: list[Position]
    prepared: Any = None
    dead: list[Dead] = field(default_factory=list)
    put_away: bool = False

    @property
    def events(self) -> int:
        """Events in it."""
        return sum(batch.size for batch in self.taken.batches)


class DeadLetterLimit:
    """At most so many dead letters in ten minutes; what would be more stays in the log, and the worker stops."""

    def __init__(self, limit: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._times: deque[tuple[float, int]] = deque()

    def admit(self, count: int, example: str) -> None:
        """Counts so many more; raises TooManyDeadLetters where they are too many, and counts none of them then."""
        now = self._monotonic()
        while self._times and self._times[0][0] < now - DEAD_LETTER_WINDOW_S:
            self._times.popleft()
        before = sum(number for _, number in self._times)
        if before + count > self._limit:
            raise TooManyDeadLetters(
                f"{before + count} records in 10 minutes could not be counted, the limit is {self._limit}"
                f" (STREAMGAUGE_DEAD_LETTER_LIMIT); the last reason: {example}. They stay in the log: mend the cause and start again"
            )
        self._times.append((now, count))


class Storing:
    """Writes groups one after the other, each until it is through or lost."""

    def __init__(
        self,
        sink: DatabaseSink,
        producer: Producer,
        cluster: Cluster,
        telemetry: LogTelemetry,
        limit: DeadLetterLimit,
        now: Callable[[], dt.datetime],
    ) -> None:
        self._sink = sink
        self._producer = producer
        self._cluster = cluster
        self._telemetry = telemetry
        self._limit = limit
        self._now = now

    async def store(self, group: Group) -> None:
        """Returns when the group is committed. Waits for a database or a broker that is away, for as long as it takes.

        Raises Fenced where a partition is another's now: nothing of the group was written then. Raises TooManyDeadLetters.
        """
        wait = _FIRST_WAIT_S
        while True:
            try:
                await self._once(group)
                return
            except Unavailable as error:
                self._telemetry.failed(error)
                log.warning("group_waits", reason=error.reason, events=group.events, seconds=round(wait, 1))
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT_S)

    async def _once(self, group: Group) -> None:
        if not group.put_away:
            await self._forward(group.taken.strays)
            await self._put_away(group.taken.dead)
            group.dead += group.taken.dead
            group.put_away = True
        started = time.perf_counter()
        outcome = await self._write(group.taken.batches, group.prepared, group)
        if not outcome.moved:
            fallen = [
                refused(kind, records[refusal.position], refusal.error)
                for (kind, records), refusals in zip(group.taken.origins, outcome.refusals, strict=True)
                for refusal in refusals
            ]
            await self._put_away(fallen)
            group.dead += fallen
            # All that is good is counted and known. What is left is to pass it all.
            group.taken, group.prepared = Taken(), []
            await self._write([], [], group)
        self._telemetry.committed(outcome, time.perf_counter() - started)
        for kind, number in Counter(dead.letter.kind for dead in group.dead).items():
            self._telemetry.buried(kind, number)

    async def _write(self, batches: Sequence[Packed], prepared: Any, group: Group) -> Outcome:
        letters: list[DeadLetter] = [dead.letter for dead in group.dead]
        return await asyncio.to_thread(
            self._sink.write, cast("list[PackedBatch]", batches), prepared, group.positions, letters
        )

    async def _put_away(self, dead: Sequence[Dead]) -> None:
        """Sends records to the dead-letter topic, before the transaction that passes them."""
        if not dead:
            return
        self._limit.admit(len(dead), dead[-1].letter.reason)
        for one in dead[:5]:
            letter = one.letter
            log.warning(
                "dead_letter",
                kind=letter.kind,
                partition=letter.partition,
                offset=letter.offset,
                organization=letter.organization,
                reason=letter.reason,
            )
        now = self._now()
        records = [to_record(self._cluster, one, now) for one in dead]
        await self._producer.send(self._cluster.dead_letter_topic, 0, records)

    async def _forward(self, strays: Sequence[Stray]) -> None:
        """Sends records to the partitions that they belong to. Who owns those counts them; here they are only passed."""
        lanes: dict[tuple[str, int], list[Record]] = {}
        for stray in strays:
            record = Record(stray.key, stray.record.value, list(stray.record.headers))
            lanes.setdefault((stray.kind, stray.home), []).append(record)
        answers = [self._producer.send(self._cluster.topic(kind), home, found) for (kind, home), found in lanes.items()]
        await asyncio.gather(*answers)
        for kind, number in Counter(stray.kind for stray in strays).items():
            self._telemetry.forwarded(kind, number)
