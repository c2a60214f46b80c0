"""Kafka's log: accepted events go to the partition that their key belongs to, and the answer comes when all replicas have them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

import structlog

from ingest.kafka.cluster import Cluster
from ingest.kafka.producer import Producer
from ingest.kafka.records import PackedRecords, pack_records
from ingest.log import Batch, Packed, Refusal, Unavailable
from ingest.telemetry import Telemetry

log = structlog.get_logger(__name__)

_THREAD_ABOVE = 500
"""Events of one batch that are encoded in a thread, so that other requests go on."""

PUBLISH_S = 10.0
"""How long a batch may wait for its acknowledgement before its sender is told to send it again."""

LEASE_S = 2.0
"""How long the numbers of partitions are believed that were read last. Who raises one waits for so long first."""


class TopicState(Protocol):
    """A kind's topic as the database has it."""

    @property
    def kind(self) -> str:
        """The kind of event."""

    @property
    def partitions(self) -> int:
        """How many partitions there are."""

    @property
    def draining(self) -> bool:
        """Whether no events are taken, because that number is being raised."""


Topology = Callable[[], Awaitable[Sequence[TopicState]]]
"""Reads the topics; may raise anything where that is not possible now."""


class KafkaLog:
    """The log port (ingest.log.Log) over Kafka.

    Where the broker is away, the answer is late, or more than `queue_events` events wait for theirs, `publish` raises Unavailable.
    Some of the batch may have arrived then; sent again, they are known. The numbers of partitions are read from the database
    again and again: where that is not possible for longer than `LEASE_S`, nothing is taken, since a source's events must not
    overtake each other in two partitions.
    """

    def __init__(
        self,
        cluster: Cluster,
        topology: Topology,
        telemetry: Telemetry,
        *,
        queue_events: int = 100_000,
        compression: str | None = "lz4",
        publish_s: float = PUBLISH_S,
        poll_s: float = 0.5,
    ) -> None:
        self._cluster = cluster
        self._topology = topology
        self._telemetry = telemetry
        self._queue_events = queue_events
        self._publish_s = publish_s
        self._poll_s = poll_s
        self._producer = Producer(cluster, compression=compression)
        self._topics: dict[str, TopicState] = {}
        self._read_at = 0.0
        self._in_flight = 0
        self._closing = False
        self._reading = asyncio.Lock()
        self._unreadable = False
        self._poller: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reads the topology and connects. A broker that is away is no reason to fail: batches are refused until it is there."""
        await self._read()
        self._poller = asyncio.create_task(self._poll(), name="log-topology")
        try:
            await self._producer.start()
        except Unavailable as error:
            log.warning("kafka_unavailable", reason=error.reason)

    def pack(self, batch: Batch) -> PackedRecords:
        """Encodes a batch. Blocking: for the thread that decoded it."""
        return pack_records(batch)

    async def publish(self, batch: Batch | Packed) -> list[Refusal]:
        """Returns once all replicas have every event. See ingest.log.Log."""
        if isinstance(batch, Batch):
            large = batch.size > _THREAD_ABOVE
            batch = await asyncio.to_thread(pack_records, batch) if large else pack_records(batch)
        assert isinstance(batch, PackedRecords)
        if self._expired() and not self._unreadable:
            # This process was busy with something else; the database has not been asked for too long.
            async with self._reading:
                if self._expired() and not self._unreadable:
                    await self._try_to_read()
        self._admit(batch)
        self._in_flight += batch.size
        answers: list[asyncio.Future[None]] = []
        for kind in batch.kinds:
            for partition, records in batch.by_partition(kind, self._topics[kind].partitions).items():
                answer = self._producer.send(self._cluster.topic(kind), partition, records)
                # Counted out one by one, also when nobody waits any more: what Kafka has not taken is still in memory.
                answer.add_done_callback(partial(self._answered, len(records)))
                answers.append(answer)
        self._telemetry.queued(self._in_flight)
        done, late = await asyncio.wait(answers, timeout=self._publish_s)
        for answer in done:
            answer.result()
        if late:
            raise Unavailable("Kafka does not answer; send the events again", retry_after=2.0)
        return []

    async def close(self) -> None:
        """Ends; what was not answered yet may have arrived or not."""
        self._closing = True
        if self._poller is not None:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poller
        await self._producer.close()

    def _admit(self, batch: PackedRecords) -> None:
        """Raises Unavailable where these events cannot be taken now."""
        if self._closing:
            raise Unavailable("the service is stopping")
        if self._expired():
            raise Unavailable("the database that knows Kafka's partitions cannot be read now", retry_after=2.0)
        for kind in batch.kinds:
            topic = self._topics.get(kind)
            if topic is None or topic.draining:
                raise Unavailable(f"the topic of {kind} events is being given more partitions", retry_after=2.0)
        if self._in_flight and self._in_flight + batch.size > self._queue_events:
            raise Unavailable("the queue of events is full")
        if self._producer.oldest_s > self._publish_s:
            raise Unavailable("Kafka does not answer", retry_after=2.0)

    def _answered(self, events: int, _: asyncio.Future[None]) -> None:
        self._in_flight -= events
        self._telemetry.queued(self._in_flight)

    def _expired(self) -> bool:
        return asyncio.get_running_loop().time() - self._read_at > LEASE_S

    async def _read(self) -> None:
        # The lease counts from before the question: what the answer says may have changed since.
        asked = asyncio.get_running_loop().time()
        self._topics = {topic.kind: topic for topic in await self._topology()}
        self._read_at = asked

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await self._try_to_read()

    async def _try_to_read(self) -> None:
        try:
            async with asyncio.timeout(LEASE_S):
                await self._read()
        except Exception as error:
            # Whatever the reason: until it is over nothing is published, and that is told to the senders.
            if not self._unreadable:
                log.warning("log_topology_unreadable", reason=f"{type(error).__name__}: {error}")
            self._unreadable = True
        else:
            self._unreadable = False
