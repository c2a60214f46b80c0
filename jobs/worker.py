"""The worker: from Kafka's log into the database, each event once, whatever dies or is taken away meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

import structlog

from ingest.kafka.consumer import LogConsumer
from ingest.kafka.intake import Intake
from ingest.kafka.slices import OutOfRange, Place
from ingest.log import Fenced, Unavailable
from ingest.telemetry import LogTelemetry
from jobs.claims import Claims
from jobs.gathering import TOGETHER, Gathering
from jobs.known import KnownOrganizations
from jobs.pipeline import Pipeline
from jobs.storing import Group, Storing
from jobs.watch import Watch
from storage.database import Database, QueryTooSlow, StorageUnavailable
from storage.log_partitions import LogPartitions
from storage.sink import DatabaseSink

log = structlog.get_logger(__name__)

_POLL_S = 0.2
_RETRY_S = 1.0
_SILENT_S = 60.0
STOP_S = 2.5
"""How long a stop waits for the group that is being written."""

_T = TypeVar("_T")


class Worker:
    """One member of the consumer group.

    While one group is written the next is prepared, and a third is read and decoded. `stop` lets the group in hand end, tells Kafka
    how far it is and leaves the group of consumers; a worker that is killed instead leaves nothing behind but a partition that the
    next owner claims. A claim of the database, not membership, is what allows to write.
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
        group_events: int = 20_000,
        session_s: float = 10.0,
    ) -> None:
        self._owner = owner
        self._partitions = partitions
        self._make_consumer = consumer
        self._sink = sink
        self._telemetry = telemetry
        self._now = now
        self._group_events = group_events
        self._session_s = session_s
        self._stopping = asyncio.Event()
        self._watch = Watch(partitions, telemetry)
        self._gathering = Gathering(intake, KnownOrganizations(database), now)
        self._pipeline = Pipeline(sink, storing)
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
            if len(self._gathering) >= self._group_events:
                # Nothing more is read before it can go on its way.
                await self._finish(consumer, claims)
            else:
                await self._read(consumer, claims)
            while (oldest := self._pipeline.oldest) is not None and oldest.done():
                await self._finish(consumer, claims)
            ripe = len(self._gathering) >= self._group_events and not self._pipeline.full
            if self._gathering and (ripe or self._pipeline.oldest is None):
                await self._send(consumer, claims)
            if self._watch.void:
                # Nothing was refused yet, since there was nothing to write; the database says that it would be.
                lost, self._watch.void = self._watch.void, []
                await self._reset(consumer, claims, lost)
            await self._watch.tell(consumer, claims, self._busy())
            if consumer.silent_s(self._now()) > _SILENT_S:
                raise Unavailable(f"no broker has answered for {_SILENT_S:.0f} s; the consumer is made anew")

    async def _read(self, consumer: LogConsumer, claims: Claims) -> None:
        """Reads what comes next, or waits a little for it, though no longer than until the database is free for what was read."""
        room = self._group_events - len(self._gathering)
        try:
            found = await consumer.poll(
                min(TOGETHER, room), _POLL_S, self._pipeline.oldest if self._gathering else None
            )
        except OutOfRange as error:
            log.warning("log_offsets_out_of_range", places=str(error))
            await self._reset(consumer, claims, error.places)
            return
        await self._decoded(
            consumer,
            claims,
            self._gathering.add([part for part in found if part.place in claims.held], claims.counts()),
        )

    async def _decoded(self, consumer: LogConsumer, claims: Claims, decoding: Awaitable[_T]) -> _T | None:
        """What `decoding` comes to; None where it is not known whose records they are: then they are read again."""
        try:
            return await decoding
        except (StorageUnavailable, QueryTooSlow) as error:
            log.warning("organizations_unread", reason=str(error))
            await self._pause(_RETRY_S)
            await self._reset(consumer, claims, claims.held)
            return None

    async def _claim(self, consumer: LogConsumer, claims: Claims) -> None:
        """Claims what was assigned and is not claimed yet."""
        assigned = consumer.assignment
        if lost := claims.held.keys() - assigned:
            claims.drop(lost)
            self._read_anew(consumer, claims, lost)
        if consumer.generation != self._generation:
            # The group has decided anew: what was another's a moment ago is ours now, if it is assigned to us.
            self._generation = consumer.generation
            self._not_before.clear()
        if not self._due(consumer):
            return
        # What is in hand of these is written first, if it still can be: the claim would make it void.
        while self._pipeline.oldest is not None:
            await self._finish(consumer, claims)
        self._read_anew(consumer, claims, self._due(consumer))
        due = self._due(consumer)
        claims.drop(due)
        try:
            await claims.claim(due)
        except (StorageUnavailable, QueryTooSlow) as error:
            log.warning("claim_waits", reason=str(error))
            await self._pause(_RETRY_S)
        # Those that the database does not know yet are asked for again, though not at once.
        for place in due & consumer.unclaimed:
            self._not_before[place] = asyncio.get_running_loop().time() + _RETRY_S
        self._sink.keep(claims.positions())

    def _due(self, consumer: LogConsumer) -> set[Place]:
        """What is to be claimed now."""
        now = asyncio.get_running_loop().time()
        return {place for place in consumer.unclaimed if self._not_before.get(place, 0.0) <= now}

    def _read_anew(self, consumer: LogConsumer, claims: Claims, gone: Collection[Place]) -> None:
        """Forgets what was gathered if some of it is of partitions that are gone: the others are claimed and read once more."""
        if self._gathering.places.isdisjoint(gone):
            return
        self._gathering.clear()
        self._give_back(consumer, claims)

    def _give_back(self, consumer: LogConsumer, claims: Claims) -> None:
        """Holds nothing any more, so that everything is claimed again."""
        held = set(claims.held)
        claims.drop(held)
        consumer.give_back(held)

    async def _send(self, consumer: LogConsumer, claims: Claims) -> None:
        """Makes what was gathered a group and sends it on its way."""
        gathered = await self._decoded(consumer, claims, self._gathering.finish(claims.counts()))
        if gathered is not None:
            slices, taken = gathered
            self._pipeline.put(Group(taken, claims.take(slices)))
            self._telemetry.queued(self._queued())

    async def _finish(self, consumer: LogConsumer, claims: Claims) -> None:
        """Waits for the oldest group under way. Where it was lost, what was read behind it is dropped, and read again by its owner."""
        writing = self._pipeline.oldest
        if writing is None:
            return
        while not writing.done():
            await asyncio.wait([writing], timeout=_POLL_S)
            self._telemetry.beat(self._now().timestamp())
            if self._stopping.is_set():
                break
        await asyncio.wait([writing], timeout=STOP_S)
        if not writing.done():
            writing.cancel()
        group = self._pipeline.pop()
        try:
            await writing
        except Fenced as error:
            self._telemetry.fenced()
            log.warning("group_fenced", reason=str(error), events=group.events)
            await self._pipeline.drop()
            await self._reset(consumer, claims, error.partitions)
            return
        except asyncio.CancelledError:
            await self._pipeline.drop()
            return
        self._telemetry.queued(self._queued())
        claims.were_counted(group.positions)
        self._courtesy(consumer, group)

    async def _reset(self, consumer: LogConsumer, claims: Claims, lost: Collection[Place]) -> None:
        """Drops all that was read, and claims everything again. What is another's now is left to it for a while.

        A rebalance follows, or has happened, where the group agrees with the database. Where it does not, because the other one
        claimed late and died, the partitions come back to us.
        """
        self._gathering.clear()
        self._give_back(consumer, claims)
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

    def _queued(self) -> int:
        """Events in hand."""
        return len(self._gathering) + sum(group.events for group in self._pipeline.groups)

    def _busy(self) -> set[Place]:
        """The partitions of which records are in hand."""
        positions = [position for group in self._pipeline.groups for position in group.positions]
        return self._gathering.places | {(one.kind, one.partition) for one in positions}

    async def _pause(self, seconds: float) -> None:
        """Waits, unless it is stopped."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _end(self, consumer: LogConsumer) -> None:
        """Lets the group in hand end, tells Kafka, leaves."""
        try:
            await self._pipeline.drop(keep=1)
            await self._finish(consumer, Claims(self._partitions, consumer, self._telemetry, self._owner))
        finally:
            self._gathering.clear()
            await self._watch.end()
            if self._committing is not None:
                await asyncio.wait([self._committing], timeout=1.0)
                self._committing.cancel()
            await consumer.stop()
