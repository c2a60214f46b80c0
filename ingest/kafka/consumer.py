"""The consumer: records of the partitions that this worker owns, from the offsets that the database says, and from nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from ingest.kafka.cluster import Cluster
from ingest.kafka.ending import abandon_consumer
from ingest.kafka.shares import Shares
from ingest.kafka.slices import OutOfRange, Place, Slice
from ingest.kafka.topics import MAX_MESSAGE_BYTES
from ingest.log import Unavailable

log = structlog.get_logger(__name__)

FETCH_WAIT_S = 0.25
"""How long a broker waits for records before it says that there are none."""

_FOREVER_MS = 2**31 - 1
_LOG_APPEND_TIME = 1


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what a rebalance brings, and does nothing that could fail or wait: the coordinator would go on without us."""

    def __init__(self, consumer: LogConsumer) -> None:
        self._consumer = consumer

    def on_partitions_revoked(self, _: Iterable[TopicPartition]) -> None:
        """Nothing is held any more."""
        self._consumer.revoked()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Nothing is read before the database has said from where."""
        self._consumer.assigned(set(assigned))


class LogConsumer:
    """A member of the workers' consumer group.

    What it is assigned is paused at once, before anything is awaited, and stands in `unclaimed` until `begin` says from which
    offset it is read. `generation` changes whenever the assignment does: what was read before may be another's by then.
    `getmany` is never cancelled while the consumer is in use (its counter of fetches would stay raised for ever).
    """

    def __init__(
        self,
        cluster: Cluster,
        kinds: Sequence[str],
        *,
        client_id: str,
        session_s: float = 10.0,
        max_bytes: int = 32_000_000,
    ) -> None:
        self._cluster = cluster
        self._topics = [cluster.topic(kind) for kind in kinds]
        self._max_bytes = max_bytes
        self._client_id = client_id
        self._session_s = session_s
        self._consumer: AIOKafkaConsumer | None = None
        self._getting: asyncio.Task[Any] | None = None
        self._stale: set[Place] = set()
        self._begun: dict[Place, int] = {}
        self._all_stale = False
        self._shares = Shares()
        self.unclaimed: set[Place] = set()
        self.generation = 0

    async def start(self) -> None:
        """Joins the group; raises Unavailable where Kafka cannot be reached."""
        consumer = AIOKafkaConsumer(
            **self._cluster.client(),
            client_id=self._client_id,
            group_id=self._cluster.group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            partition_assignment_strategy=(RoundRobinPartitionAssignor,),
            fetch_max_wait_ms=int(FETCH_WAIT_S * 1000),
            fetch_max_bytes=self._max_bytes,
            max_partition_fetch_bytes=MAX_MESSAGE_BYTES,
            session_timeout_ms=int(self._session_s * 1000),
            heartbeat_interval_ms=max(100, int(self._session_s * 1000 / 5)),
            # A database that is away for an hour is no reason to leave: liveness is judged by the lag.
            max_poll_interval_ms=_FOREVER_MS,
            rebalance_timeout_ms=30_000,
            metadata_max_age_ms=5_000,
            request_timeout_ms=20_000,
        )
        # Subscribed after the start, which would wait for an assignment otherwise.
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            with contextlib.suppress(KafkaError):
                await consumer.stop()
            raise Unavailable(f"Kafka cannot be reached: {error}", retry_after=2.0) from error
        consumer.subscribe(self._topics, listener=_Listener(self))
        self._consumer = consumer

    async def stop(self, seconds: float = 2.0) -> None:
        """Leaves the group, so that the others take over at once."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        if self._getting is not None:
            self._getting.cancel()
            await asyncio.gather(self._getting, return_exceptions=True)
        try:
            async with asyncio.timeout(seconds):
                await consumer.stop()
        except (KafkaError, TimeoutError) as error:
            log.warning("kafka_group_not_left", reason=f"{type(error).__name__}: {error}")
            await abandon_consumer(consumer)

    def revoked(self) -> None:
        """What was assigned is so no longer."""
        self.generation += 1
        self._all_stale = True
        self.unclaimed = set()

    def assigned(self, partitions: set[TopicPartition]) -> None:
        """Partitions are ours, as far as the group knows."""
        assert self._consumer is not None
        self._consumer.pause(*partitions)
        self.generation += 1
        self.unclaimed = {self._place(partition) for partition in partitions}
        log.info("partitions_assigned", partitions=sorted(f"{kind}/{number}" for kind, number in self.unclaimed))

    @property
    def assignment(self) -> set[Place]:
        """What is assigned, as far as this process knows; it is the last to hear that it was evicted."""
        if self._consumer is None:
            return set()
        return {self._place(partition) for partition in self._consumer.assignment()}

    def begin(self, offsets: Mapping[Place, int]) -> None:
        """Reads claimed partitions from these offsets on; those that were revoked meanwhile are passed over."""
        assert self._consumer is not None
        for place, offset in offsets.items():
            partition = self._partition(place)
            self._stale.add(place)
            self._begun[place] = offset
            with contextlib.suppress(IllegalStateError):
                self._consumer.seek(partition, offset)
                self._consumer.resume(partition)
                self.unclaimed.discard(place)

    def give_back(self, places: Iterable[Place]) -> None:
        """Stops reading these until they are claimed again."""
        assert self._consumer is not None
        for place in places:
            self._stale.add(place)
            with contextlib.suppress(IllegalStateError):
                self._consumer.pause(self._partition(place))
                self.unclaimed.add(place)

    async def poll(self, max_records: int, seconds: float, until: asyncio.Future[Any] | None = None) -> list[Slice]:
        """The next records, at most so many; none where there are none within about so many seconds, or during a rebalance.

        It does not wait any longer once `until` is done. Raises OutOfRange where the log does not have what was asked for, and
        Unavailable where the consumer must be made anew.
        """
        assert self._consumer is not None
        if self._getting is None:
            getting = self._shares.take(self._consumer, max_records, seconds)
            self._getting = asyncio.create_task(getting, name="take")
            self._stale, self._all_stale = set(), False
        waited = [self._getting] if until is None else [self._getting, until]
        # During a rebalance it waits for as long as that takes, whatever its time-out.
        await asyncio.wait(waited, timeout=seconds + 0.5, return_when=asyncio.FIRST_COMPLETED)
        if not self._getting.done():
            return []
        found, self._getting = self._getting, None
        try:
            polled = found.result()
        except OffsetOutOfRangeError as error:
            raise OutOfRange({self._place(tp): offset for tp, offset in error.args[0].items()}) from error
        except NoOffsetForPartitionError:
            # Kafka has no offset for a partition that is not claimed yet. It is the database's that counts.
            return []
        except KafkaError as error:
            raise Unavailable(f"Kafka cannot be read: {type(error).__name__}: {error}") from error
        slices: list[Slice] = []
        for partition, records in polled.items():
            if not records:
                continue
            if self._all_stale or self._place(partition) in self._stale:
                self._read_again(partition)
                continue
            stamped = records[-1].timestamp_type == _LOG_APPEND_TIME
            appended = _moment(records[-1].timestamp) if stamped else None
            slices.append(Slice(*self._place(partition), records, records[-1].offset + 1, appended))
        return slices

    def _read_again(self, partition: TopicPartition) -> None:
        """Goes back to the claimed offset, because records are thrown away that may have been read from there.

        A call that was under way when the partition was claimed may hold records from before the claim, which are not what comes
        next, or from behind it: then the position has moved on, and they would never be seen again.
        """
        assert self._consumer is not None
        place = self._place(partition)
        if place in self._begun and place not in self.unclaimed:
            with contextlib.suppress(IllegalStateError):
                self._consumer.seek(partition, self._begun[place])

    def read_from(self, place: Place, offset: int) -> None:
        """Reads a partition from an offset on once more, up to which everything was taken."""
        assert self._consumer is not None
        with contextlib.suppress(IllegalStateError):
            self._consumer.seek(self._partition(place), offset)

    def drained(self, places: Iterable[Place]) -> dict[Place, tuple[dt.datetime, int]]:
        """Of these, the partitions that had nothing more when they were last asked: when that was at the least, and their end.

        The end lies behind the last record where something else stands there, such as the mark of a transaction.
        """
        assert self._consumer is not None
        found: dict[Place, tuple[dt.datetime, int]] = {}
        if self._getting is not None and self._getting.done():
            # Records are taken from the consumer already that nobody has seen yet.
            return found
        for place in places:
            partition = self._partition(place)
            with contextlib.suppress(IllegalStateError, AssertionError):
                end, asked = self._consumer.last_stable_offset(partition), self._consumer.last_poll_timestamp(partition)
                state = self._consumer._subscription._assigned_state(partition)
                if (
                    end is not None
                    and asked
                    and state.has_valid_position
                    and state.position == end
                    and not state.paused
                ):
                    found[place] = _moment(asked) - dt.timedelta(seconds=FETCH_WAIT_S), int(end)
        return found

    def silent_s(self, now: dt.datetime) -> float:
        """For how many seconds no broker has answered for any partition that is read; 0 where none is read.

        A fetcher that stopped after a rebalance raises nothing (aiokafka's issue 1037): this is how it is noticed.
        """
        if self._consumer is None:
            return 0.0
        reading = self._consumer.assignment() - self._consumer.paused()
        answered = max((int(self._consumer.last_poll_timestamp(partition) or 0) for partition in reading), default=0)
        return now.timestamp() - answered / 1000 if answered else 0.0

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """The end of these partitions' logs, as far as it is known."""
        assert self._consumer is not None
        found: dict[Place, int] = {}
        for place in places:
            with contextlib.suppress(IllegalStateError, AssertionError):
                end = self._consumer.highwater(self._partition(place))
                if end is not None:
                    found[place] = end
        return found

    def refresh(self) -> None:
        """Asks which partitions there are, without waiting for the answer: new ones bring a rebalance."""
        assert self._consumer is not None
        self._consumer._client.force_metadata_update()

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        """Tells Kafka how far the partitions are, as a courtesy to whoever looks there. Raises Unavailable."""
        assert self._consumer is not None
        with _unavailable():
            await self._consumer.commit({self._partition(place): offset for place, offset in offsets.items()})

    async def bounds(self, places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
        """The first offset that these partitions' logs have, and the one behind the last. Raises Unavailable."""
        assert self._consumer is not None
        partitions = [self._partition(place) for place in places]
        with _unavailable():
            first = await self._consumer.beginning_offsets(partitions)
            last = await self._consumer.end_offsets(partitions)
        return {self._place(partition): (first[partition], last[partition]) for partition in partitions}

    async def appended_after(self, moments: Mapping[Place, dt.datetime]) -> dict[Place, int | None]:
        """For each partition the first offset that was appended after a moment; None where there is none. Raises Unavailable."""
        assert self._consumer is not None
        asked = {self._partition(place): int(moment.timestamp() * 1000) + 1 for place, moment in moments.items()}
        with _unavailable():
            found = await self._consumer.offsets_for_times(asked)
        return {self._place(partition): None if at is None else at.offset for partition, at in found.items()}

    def _place(self, partition: TopicPartition) -> Place:
        return self._cluster.kind(partition.topic), partition.partition

    def _partition(self, place: Place) -> TopicPartition:
        return TopicPartition(self._cluster.topic(place[0]), place[1])


@contextlib.contextmanager
def _unavailable() -> Iterator[None]:
    """Raises our error in place of the client's. A partition that was revoked meanwhile is one of them."""
    try:
        yield
    except (KafkaError, ValueError) as error:
        raise Unavailable(f"Kafka does not answer: {type(error).__name__}: {error}") from error


def _moment(milliseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
