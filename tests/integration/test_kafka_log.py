"""Kafka's log when Kafka is not well: senders are told at once, memory is bounded, and afterwards everything goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import OutOfOrderSequenceNumber

from ingest.kafka.log import KafkaLog
from ingest.kafka.producer import Producer
from ingest.kafka.records import Record
from ingest.log import Unavailable
from storage.log_partitions import LogTopic
from tests.integration.log_worker import HeardByWorker, log_bench
from tests.integration.stored import organizations
from tests.integration.test_worker import exact, publish
from tests.samples import Sample, batches, view
from tests.servers.server import Server


async def sent(log: KafkaLog, samples: list[Sample], owners: Any) -> list[Sample]:
    """Publishes each by itself; returns those that were not taken."""
    refused = []
    for sample in samples:
        try:
            await log.publish(batches([sample], owners)[0])
        except Unavailable:
            refused.append(sample)
            # It is refused without waiting; a sender waits.
            await asyncio.sleep(0.01)
    return refused


async def until_taken(log: KafkaLog, sample: Sample, owners: Any, *, taken: bool) -> None:
    """Publishes it again and again until it is taken, or is not."""
    async with asyncio.timeout(10):
        while (await sent(log, [sample], owners) == []) is not taken:  # noqa: ASYNC110  (nothing tells of it)
            await asyncio.sleep(0.02)


async def all_sent(log: KafkaLog, samples: list[Sample], owners: Any) -> None:
    """Publishes them until each was taken: the same id twice counts once."""
    async with asyncio.timeout(60):
        while samples:
            samples = await sent(log, samples, owners)


async def test_a_broker_that_dies_and_comes_back(kafka_server: Server, database_url: str) -> None:
    owners = organizations(database_url, 1)
    samples = [view(f"v{n}") for n in range(60)]
    async with (
        log_bench(kafka_server.address, database_url) as bench,
        bench.log(publish_s=0.5) as log,
        bench.worker() as worker,
    ):
        # A broker busy with making topics can take longer than publish_s.
        await all_sent(log, samples[:20], owners)
        await asyncio.to_thread(kafka_server.kill)
        assert await sent(log, samples[20:40], owners) == samples[20:40]
        await asyncio.to_thread(kafka_server.start)
        await all_sent(log, samples[20:], owners)
        await bench.drained(60)
        assert worker.heard.dead == 0
    exact(database_url, samples, owners)


async def test_a_producer_that_fails_for_good_is_replaced(kafka: str, database_url: str) -> None:
    owners = organizations(database_url, 1)
    async with log_bench(kafka, database_url, partitions=1) as bench, bench.log() as log, bench.worker():
        await publish(log, [view("a")], owners)
        broken = log._producer._producer
        assert broken is not None

        async def out_of_order(*_: object, **__: object) -> None:
            raise OutOfOrderSequenceNumber

        broken.send_batch = out_of_order
        with pytest.raises(Unavailable, match="OutOfOrderSequenceNumber"):
            await publish(log, [view("b")], owners)
        await publish(log, [view("b"), view("c")], owners)
        assert log._producer._producer is not broken
        await bench.drained()
    exact(database_url, [view("a"), view("b"), view("c")], owners)


async def test_a_producer_without_a_broker_says_so_and_does_not_wait_for_ever() -> None:
    from ingest.kafka.cluster import Cluster

    producer = Producer(Cluster("127.0.0.1:1"))
    answers = [producer.send("t", 0, [Record(b"k", b"v", [])]) for _ in range(3)]
    found = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(one) for one in found] == [Unavailable] * 3
    with pytest.raises(Unavailable):
        await producer.start()
    await producer.close()
    with pytest.raises(Unavailable, match="stopping"):
        await producer.send("t", 0, [Record(b"k", b"v", [])])


class Topics:
    """What the database says, as a test wants it."""

    def __init__(self, **topics: LogTopic) -> None:
        self.topics = topics
        self.away = False
        self.reads = 0

    async def __call__(self) -> list[LogTopic]:
        """Answers, or fails."""
        self.reads += 1
        if self.away:
            raise ConnectionError("away")
        return list(self.topics.values())


async def test_nothing_is_taken_while_the_number_is_raised_or_cannot_be_read(kafka: str, database_url: str) -> None:
    owners = organizations(database_url, 1)
    async with log_bench(kafka, database_url, partitions=1) as bench:
        topics = Topics(view=LogTopic("view", 1, False))
        log = KafkaLog(bench.cluster, topics, HeardByWorker(), poll_s=0.05)
        await log.start()
        try:
            await publish(log, [view("a")], owners)
            topics.topics["view"] = LogTopic("view", 1, True)
            await until_taken(log, view("b"), owners, taken=False)
            with pytest.raises(Unavailable, match="more partitions"):
                await publish(log, [view("b")], owners)
            topics.topics["view"] = LogTopic("view", 1, False)
            await until_taken(log, view("b"), owners, taken=True)
            topics.away = True
            await until_taken(log, view("c"), owners, taken=False)
            with pytest.raises(Unavailable, match="cannot be read"):
                await publish(log, [view("d")], owners)
        finally:
            await log.close()
