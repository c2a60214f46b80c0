"""The producer: records of a partition go out in order, many of them in one batch, and nothing is sent that was given up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from ingest.kafka.cluster import Cluster
from ingest.kafka.ending import STOP_S, end_producer
from ingest.kafka.records import Record
from ingest.kafka.topics import MAX_MESSAGE_BYTES
from ingest.log import Unavailable

log = structlog.get_logger(__name__)

_BATCH_BYTES = 1_000_000
"""Size of one batch of one partition, before compression, unless a single record is larger."""

_QUESTIONS = 3
_START_S = 5.0


class _Entry:
    """Records that were handed over together, and who waits for them."""

    def __init__(self, records: Sequence[Record], begun: float) -> None:
        self.records = records
        self.begun = begun
        self.sent = 0
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fill(self, builder: Any) -> bool:
        """Moves records into a batch; returns whether all of them have found room by now."""
        while self.sent < len(self.records):
            record = self.records[self.sent]
            if builder.append(timestamp=None, key=record.key, value=record.value, headers=record.headers) is None:
                return False
            self.sent += 1
        return True

    def fail(self, error: Exception) -> None:
        """Tells who waits that the records may not have arrived."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # a caller that went away leaves nobody to look at it


class Producer:
    """An idempotent producer that waits for every replica, and that is replaced when it is broken.

    Each partition has a lane: while one batch of it is on its way the next records gather, so that batches are small when there is
    time and large when there is none. aiokafka sends a batch again for as long as it takes; one that is not acknowledged within
    `patience_s`, or fails for good (as after OutOfOrderSequence, aiokafka's issue 1017), takes the whole producer with it: its
    records are reported as not sent, and a new producer is started for the next.
    """

    def __init__(self, cluster: Cluster, *, compression: str | None = "lz4", patience_s: float = 20.0) -> None:
        self._cluster = cluster
        self._compression = compression
        self._patience_s = patience_s
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._not_before = 0.0
        self._lanes: dict[tuple[str, int], deque[_Entry]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def start(self) -> None:
        """Connects; raises Unavailable where that fails."""
        await self._current()

    async def close(self) -> None:
        """Waits a little for what is on its way, then ends."""
        self._closing = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._producer is not None:
            await end_producer(self._producer)
            self._producer = None

    @property
    def oldest_s(self) -> float:
        """For how many seconds the oldest record has waited to be acknowledged; 0 where none does."""
        begun = [lane[0].begun for lane in self._lanes.values() if lane]
        return asyncio.get_running_loop().time() - min(begun) if begun else 0.0

    def send(self, topic: str, partition: int, records: Sequence[Record]) -> asyncio.Future[None]:
        """Hands records over. The answer comes when all replicas have them, or raises Unavailable: then they may be there or not."""
        entry = _Entry(records, asyncio.get_running_loop().time())
        if self._closing:
            entry.fail(Unavailable("the service is stopping"))
            return entry.answer
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = deque()
        lane.append(entry)
        if len(lane) == 1:
            task = asyncio.create_task(self._run(topic, partition, lane), name=f"lane {topic}/{partition}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return entry.answer

    async def _run(self, topic: str, partition: int, lane: deque[_Entry]) -> None:
        """Sends what is in a lane, until it is empty. An entry stays at its head until it is answered."""
        try:
            while lane:
                await self._send_batch(topic, partition, lane)
        finally:
            # Only a cancelled lane has anything left.
            while lane:
                lane.popleft().fail(Unavailable("the service is stopping"))

    async def _send_batch(self, topic: str, partition: int, lane: deque[_Entry]) -> None:
        whole = 0
        producer: AIOKafkaProducer | None = None
        try:
            producer = await self._current()
            await self._know(producer, topic, partition)
            builder = producer.create_batch()
            for entry in lane:
                if not entry.fill(builder):
                    break
                whole += 1
            async with asyncio.timeout(self._patience_s):
                await (await producer.send_batch(builder, topic, partition=partition))
        except (KafkaError, TimeoutError, AssertionError, Unavailable) as error:
            failure = error if isinstance(error, Unavailable) else Unavailable(_reason(error), retry_after=2.0)
            if producer is not None and not isinstance(error, Unavailable):
                await self._replace(producer, error)
            while lane:
                lane.popleft().fail(failure)
            return
        for _ in range(whole):
            answer = lane.popleft().answer
            if not answer.done():
                answer.set_result(None)

    async def _know(self, producer: AIOKafkaProducer, topic: str, partition: int) -> None:
        """Partitions are not known until they are asked for; raises Unavailable where they are not there then.

        A question that is on its way already may be about other topics only, when several lanes start at once: it is asked again.
        """
        for _ in range(_QUESTIONS):
            if partition in (producer.client.cluster.partitions_for_topic(topic) or ()):
                return
            producer.client.add_topic(topic)
            await producer.client.force_metadata_update()
        if partition not in (producer.client.cluster.partitions_for_topic(topic) or ()):
            raise Unavailable(f"partition {partition} of topic {topic} is not there yet", retry_after=2.0)

    async def _current(self) -> AIOKafkaProducer:
        """The producer that works, started where there is none; at most one attempt a second."""
        if self._producer is not None:
            return self._producer
        async with self._starting:
            if self._producer is not None:
                return self._producer
            now = asyncio.get_running_loop().time()
            if now < self._not_before:
                raise Unavailable("Kafka cannot be reached", retry_after=2.0)
            producer = AIOKafkaProducer(
                **self._cluster.client(),
                client_id="streamgauge-producer",
                acks="all",
                enable_idempotence=True,
                compression_type=self._compression,
                max_batch_size=_BATCH_BYTES,
                max_request_size=MAX_MESSAGE_BYTES,
                linger_ms=0,
                request_timeout_ms=10_000,
                metadata_max_age_ms=30_000,
            )
            try:
                async with asyncio.timeout(_START_S):
                    await producer.start()
            except (KafkaError, TimeoutError, OSError) as error:
                self._not_before = asyncio.get_running_loop().time() + 1.0
                await end_producer(producer)
                raise Unavailable(_reason(error), retry_after=2.0) from error
            self._producer = producer
            return producer

    async def _replace(self, producer: AIOKafkaProducer, error: Exception) -> None:
        """Ends a producer that is broken. Every batch of it fails then, in whatever lane."""
        if self._producer is producer:
            log.warning("kafka_producer_replaced", reason=_reason(error))
            self._producer = None
            await end_producer(producer)


def _reason(error: BaseException) -> str:
    return f"Kafka does not take events: {type(error).__name__}{f': {error}' if str(error) else ''}"
