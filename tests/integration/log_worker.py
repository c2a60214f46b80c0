"""A worker and a log of a test's own, over a real broker and a real database: topics of its own, one event loop."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from aggregators.definitions import ROLLUPS
from ingest.events import KINDS
from ingest.events.decode import Limits
from ingest.kafka.cluster import Cluster
from ingest.kafka.consumer import LogConsumer
from ingest.kafka.intake import Intake
from ingest.kafka.log import KafkaLog
from ingest.kafka.producer import Producer
from ingest.kafka.topics import TopicShape, ensure_topics
from ingest.log import Outcome
from ingest.names import MetricNames
from jobs.storing import DeadLetterLimit, Storing
from jobs.worker import Worker
from storage.database import Conn, Database, StorageUnavailable
from storage.ledger import LedgerLimits
from storage.log_partitions import LogPartitions
from storage.sink import DatabaseSink

_numbers = itertools.count(1)


@dataclass
class HeardByWorker:
    """Telemetry that is kept."""

    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    dead: int = 0
    strays: int = 0
    fences: int = 0
    lost: int = 0
    lags: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def queued(self, events: int) -> None:
        """Nothing to keep."""

    def committed(self, outcome: Outcome, seconds: float) -> None:
        """Keeps it."""
        self.outcomes.append(outcome)

    def failed(self, error: BaseException) -> None:
        """Keeps it."""
        self.failures.append(error)

    def buried(self, kind: str, count: int) -> None:
        """Counts them."""
        self.dead += count

    def forwarded(self, kind: str, count: int) -> None:
        """Counts them."""
        self.strays += count

    def fenced(self) -> None:
        """Counts it."""
        self.fences += 1

    def offsets_lost(self, kind: str, count: int) -> None:
        """Counts them."""
        self.lost += count

    def beat(self, moment: float) -> None:
        """Nothing to keep."""

    def owned(self, lags: Mapping[tuple[str, int], int]) -> None:
        """Keeps it."""
        self.lags = lags

    @property
    def counted(self) -> int:
        """Events counted."""
        return sum(outcome.counted for outcome in self.outcomes)


@dataclass
class Running:
    """A worker at work."""

    worker: Worker
    task: asyncio.Task[None]
    heard: HeardByWorker
    owner: str

    async def stop(self) -> None:
        """Ends it as a signal would."""
        self.worker.stop()
        await self.task


class Bench:
    """Everything around workers: the cluster with topics of this test's own, and the database."""

    def __init__(self, servers: str, url: str, database: Database, partitions: int) -> None:
        self.cluster = Cluster(servers, prefix=f"t{os.getpid()}x{next(_numbers)}")
        self.url = url
        self.database = database
        self.partitions = LogPartitions(database)
        self.count = partitions
        self.workers: list[Running] = []

    async def prepare(self) -> None:
        """Makes the topics."""
        topics = await self.partitions.register(dict.fromkeys(KINDS, self.count))
        await ensure_topics(self.cluster, {t.kind: t.partitions for t in topics}, TopicShape())

    @asynccontextmanager
    async def log(self, **options: Any) -> AsyncIterator[KafkaLog]:
        """The API's side."""
        log = KafkaLog(self.cluster, self.partitions.topics, HeardByWorker(), **options)
        await log.start()
        try:
            yield log
        finally:
            await log.close()

    @asynccontextmanager
    async def worker(
        self,
        *,
        group_events: int = 50_000,
        dead_letter_limit: int = 1_000,
        before_commit: Callable[[Conn], None] | None = None,
        limits: LedgerLimits | None = None,
        session_s: float = 2.0,
        heard: HeardByWorker | None = None,
    ) -> AsyncIterator[Running]:
        """A worker in this loop."""
        heard = heard or HeardByWorker()
        owner = f"worker-{next(_numbers)}"
        producer = Producer(self.cluster)
        sink = DatabaseSink(self.url, ROLLUPS, limits=limits, before_commit=before_commit)
        worker = Worker(
            owner=owner,
            database=self.database,
            partitions=self.partitions,
            consumer=lambda: LogConsumer(self.cluster, list(KINDS), client_id=owner, session_s=session_s),
            intake=Intake(Limits(), MetricNames().refusal, sink.pack),
            sink=sink,
            storing=Storing(
                sink, producer, self.cluster, heard, DeadLetterLimit(dead_letter_limit), lambda: datetime.now(UTC)
            ),
            telemetry=heard,
            now=lambda: datetime.now(UTC),
            group_events=group_events,
            session_s=session_s,
        )
        running = Running(worker, asyncio.create_task(worker.run()), heard, owner)
        self.workers.append(running)
        try:
            yield running
        finally:
            worker.stop()
            await asyncio.gather(running.task, return_exceptions=True)
            await producer.close()
            sink.close()

    async def drained(self, seconds: float = 20.0) -> None:
        """Returns when everything in the log is counted."""
        consumer = AIOKafkaConsumer(**self.cluster.client())
        await consumer.start()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for running in self.workers:
                        if running.task.done():
                            running.task.result()
                    try:
                        progress = await self.partitions.progress()
                    except StorageUnavailable:
                        continue  # the test may have ended the connection
                    places = {self._partition(p.kind, p.partition): p.next_offset for p in progress}
                    ends = await consumer.end_offsets(list(places))
                    if all(ends[place] <= offset for place, offset in places.items()):
                        return
                    await asyncio.sleep(0.05)
        finally:
            # A client whose topic was made anew meanwhile may wait for an answer that does not come; its tasks end with the loop.
            with suppress(TimeoutError):
                async with asyncio.timeout(5.0):
                    await consumer.stop()

    def _partition(self, kind: str, partition: int) -> Any:
        from aiokafka import TopicPartition

        return TopicPartition(self.cluster.topic(kind), partition)

    async def produce(
        self,
        kind: str,
        value: bytes | None,
        *,
        organization: UUID | bytes | None,
        key: bytes | None = b"foreign",
        partition: int = 0,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        """Writes one record as somebody else's producer would."""
        if headers is None:
            header = str(organization).encode() if isinstance(organization, UUID) else organization
            headers = [] if header is None else [("organization", header)]
        producer = AIOKafkaProducer(**self.cluster.client())
        await producer.start()
        try:
            await producer.send_and_wait(self.cluster.topic(kind), value, key=key, partition=partition, headers=headers)
        finally:
            await producer.stop()


@asynccontextmanager
async def log_bench(servers: str, url: str, partitions: int = 3) -> AsyncIterator[Bench]:
    """A bench that is ready."""
    database = Database(url)
    await database.open()
    try:
        bench = Bench(servers, url, database, partitions)
        await bench.prepare()
        yield bench
    finally:
        await database.close()
