"""The worker: from Kafka's log into the database, each event once, whatever dies or is taken away meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Collection
from typing import cast

import structlog

from ingest.kafka.columns import by_organization
from ingest.kafka.consumer import LogConsumer
from ingest.kafka.intake import Intake
from ingest.kafka.slices import OutOfRange, Place, Slice
from ingest.log import Fenced, Unavailable
from ingest.telemetry import LogTelemetry
from jobs.claims import Claims
from jobs.known import KnownOrganizations
from jobs.storing import Group, Storing
from jobs.watch import Watch
from storage.database import Database, QueryTooSlow, StorageUnavailable
from storage.group import PackedBatch
from storage.log_partitions import LogPartitions
from storage.sink import DatabaseSink

log = structlog.get_logger(__name__)

_POLL_S = 0.2
_RETRY_S = 1.0
_SILENT_S = 60.0
STOP_S = 2.5
"""How long a stop waits for the group that is being written."""


class Worker:
    """One member of the consumer group.

    While one group is written the next is read, decoded and prepared, one after the other: two threads that compute in Python at
    once take its lock and the memory's caches from each other, and are slower than one. `stop` lets the group in hand end, tells
    Kafka how far it is and leaves the group of consumers; a worker that is killed instead leaves nothing behind but a partition
    that the next owner claims. A claim of the database, not membership, is what allows to write.
    """

    def __init__(
        self,
        *,
        owner: str,
        database: Database,
        partitions: LogPartitions,
        consumer: Callable[[], LogConsumer],
        intake: Intake,
        sink: DatabaseSink,
        storing: Storing,
        telemetry: LogTelemetry,
        now: Callable[[], dt.datetime],
        group_events: int = 50_000,
        session_s: float = 10.0,
    ) -> None:
        self._owner = owner
        self._partitions = partitions
        self._make_consumer = consumer
        self._intake = intake
        self._sink = sink
        self._storing = storing
        self._telemetry = telemetry
        self._now = now
        self._group_events = group_events
        self._session_s = session_s
        self._stopping = asyncio.Event()
        self._organizations = KnownOrganizations(database)
        self._watch = Watch(partitions, telemetry)
        self._writing: asyncio.Task[None] | None = None
        self._written: Group | None = None
        self._waiting: list[Slice] = []
        self._not_before: dict[Place, float] = {}
        self._generation = 0
        self._committing: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Ends `run` once the group in hand is written."""
        self._stopping.set()

    async def run(self) -> None:
        """Works until it is stopped. Raises TooManyDeadLetters, and what is a defect; what may pass is waited for."""
        while not self._stopping.is_set():
            consumer = self._make_consumer()
            try:
                await consumer.start()
                await self._work(consumer)
            except Unavailable as error:
                log.warning("worker_waits", reason=error.reason)
                await self._pause(_RETRY_S)
            finally:
                await self._end(consumer)
        with contextlib.suppress(StorageUnavailable, QueryTooSlow):
            await self._partitions.release(self._owner)

    async def _work(self, consumer: LogConsumer) -> None:
        """Reads and writes until it is stopped, or the consumer must be made anew (raises Unavailable)."""
        claims = Claims(self._partitions, consumer, self._telemetry, self._owner)
        self._generation = consumer.generation
        self._not_before.clear()
        while not self._stopping.is_set():
            self._telemetry.beat(self._now().timestamp())
            await self._claim(consumer, claims)
            try:
                room = max(1, self._group_events - _events(self._waiting))
                # What waits goes on as soon as the database is free for it.
                found = await consumer.poll(room, _POLL_S, until=self._writing if self._waiting else None)
            except OutOfRange as error:
                log.warning("log_offsets_out_of_range", places=str(error))
                await self._reset(consumer, claims, error.places)
                continue
            self._waiting += [part for part in found if part.place in claims.held]
            if self._writing is not None and self._writing.done():
                await self._finish(consumer, claims)
            if self._waiting and (self._writing is None or _events(self._waiting) >= self._group_events):
                await self._next(consumer, claims)
            if self._watch.void:
                # Nothing was refused yet, since there was nothing to write; the database says that it would be.
                lost, self._watch.void = self._watch.void, []
                await self._reset(consumer, claims, lost)
            await self._watch.tell(consumer, claims, self._busy())
            if consumer.silent_s(self._now()) > _SILENT_S:
                raise Unavailable(f"no broker has answered for {_SILENT_S:.0f} s; the consumer is made anew")

    async def _claim(self, consumer: LogConsumer, claims: Claims) -> None:
        """Claims what was assigned and is not claimed yet."""
        assigned = consumer.assignment
        if lost := claims.held.keys() - assigned:
            claims.drop(lost)
            self._waiting = [part for part in self._waiting if part.place in claims.held]
        if consumer.generation != self._generation:
            # The group has decided anew: what was another's a moment ago is ours now, if it is assigned to us.
            self._generation = consumer.generation
            self._not_before.clear()
        loop = asyncio.get_running_loop()
        due = {place for place in consumer.unclaimed if self._not_before.get(place, 0.0) <= loop.time()}
        if not due:
            return
        # What is in hand of these is written first, if it still can be: the claim would make it void.
        await self._finish(consumer, claims)
        self._waiting = [part for part in self._waiting if part.place not in due]
        claims.drop(due)
        try:
            await claims.claim(due)
        except (StorageUnavailable, QueryTooSlow) as error:
            log.warning("claim_waits", reason=str(error))
            await self._pause(_RETRY_S)
        # Those that the database does not know yet are asked for again, though not at once.
        for place in due & consumer.unclaimed:
            self._not_before[place] = loop.time() + _RETRY_S
        self._sink.keep(claims.positions())

    async def _next(self, consumer: LogConsumer, claims: Claims) -> None:
        """Makes what waits a group, prepares it while the last one is written, and has it written."""
        slices, self._waiting = self._waiting, []
        positions, counts = claims.take(slices), claims.counts()
        found = await asyncio.to_thread(by_organization, slices)
        try:
            await self._organizations.look_up(header for _, header in found)
        except (StorageUnavailable, QueryTooSlow) as error:
            log.warning("organizations_unread", reason=str(error))
            await self._pause(_RETRY_S)
            await self._reset(consumer, claims, claims.held)
            return
        taken = await asyncio.to_thread(self._intake.take, found, counts, self._organizations.by_header, self._now())
        group = Group(taken, positions)
        if self._writing is not None:
            group.prepared = await asyncio.to_thread(
                self._sink.prepare, cast("list[PackedBatch]", taken.batches), positions
            )
            if not await self._finish(consumer, claims):
                return
        self._telemetry.queued(group.events)
        self._written = group
        self._writing = asyncio.create_task(self._storing.store(group), name="store")

    async def _finish(self, consumer: LogConsumer, claims: Claims) -> bool:
        """Waits for the group that is being written; False where it was lost, and with it what was read behind it."""
        writing, group = self._writing, self._written
        if writing is None or group is None:
            return True
        while not writing.done():
            await asyncio.wait([writing], timeout=_POLL_S)
            self._telemetry.beat(self._now().timestamp())
            if self._stopping.is_set():
                break
        await asyncio.wait([writing], timeout=STOP_S)
        if not writing.done():
            writing.cancel()
        self._writing = self._written = None
        try:
            await writing
        except Fenced as error:
            self._telemetry.fenced()
            log.warning("group_fenced", reason=str(error), events=group.events)
            await self._reset(consumer, claims, error.partitions)
            return False
        except asyncio.CancelledError:
            return False
        self._telemetry.queued(_events(self._waiting))
        claims.were_counted(group.positions)
        self._courtesy(consumer, group)
        return True

    async def _reset(self, consumer: LogConsumer, claims: Claims, lost: Collection[Place]) -> None:
        """Drops all that was read, and claims everything again. What is another's now is left to it for a while.

        A rebalance follows, or has happened, where the group agrees with the database. Where it does not, because the other one
        claimed late and died, the partitions come back to us.
        """
        self._waiting = []
        held = set(claims.held)
        claims.drop(held)
        consumer.give_back(held)
        consumer.refresh()
        later = asyncio.get_running_loop().time() + self._session_s
        with contextlib.suppress(StorageUnavailable, QueryTooSlow):
            for owner in await self._partitions.owners(lost):
                place = owner.kind, owner.partition
                if owner.owner not in (None, self._owner):
                    self._not_before[place] = later
                else:
                    self._not_before.pop(place, None)

    def _courtesy(self, consumer: LogConsumer, group: Group) -> None:
        """Tells Kafka, for whoever looks at lags there. Nothing rests on it."""
        offsets = {(position.kind, position.partition): position.next for position in group.positions}

        async def commit() -> None:
            try:
                await consumer.commit(offsets)
            except Exception as error:
                # After a rebalance it is refused, when the broker is away it fails: the database knows.
                log.info("kafka_commit_failed", reason=f"{type(error).__name__}: {error}")

        self._committing = asyncio.create_task(commit(), name="courtesy")

    def _busy(self) -> set[Place]:
        """The partitions of which records are in hand."""
        writing = self._written.positions if self._written is not None else []
        return {part.place for part in self._waiting} | {(one.kind, one.partition) for one in writing}

    async def _pause(self, seconds: float) -> None:
        """Waits, unless it is stopped."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _end(self, consumer: LogConsumer) -> None:
        """Lets the group in hand end, tells Kafka, leaves."""
        try:
            if self._writing is not None:
                await self._finish(consumer, Claims(self._partitions, consumer, self._telemetry, self._owner))
        finally:
            self._waiting = []
            await self._watch.end()
            if self._committing is not None:
                await asyncio.wait([self._committing], timeout=1.0)
                self._committing.cancel()
            await consumer.stop()


def _events(slices: list[Slice]) -> int:
    return sum(len(part.records) for part in slices)
