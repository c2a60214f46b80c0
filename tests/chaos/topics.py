"""A look into an installation's topics, and a hand in them: as anybody's client of Kafka, not as ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import psycopg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.chaos.cluster import Cluster

T = TypeVar("T")


class Foreign(NamedTuple):
    """A record as somebody else's producer writes it: to any partition, with any key and headers."""

    kind: str
    value: bytes | None
    organization: bytes | None
    partition: int = 0
    key: bytes | None = b"not our key"


def produce(cluster: Cluster, records: Sequence[Foreign]) -> None:
    """Writes records, in order, and returns when the broker has them."""

    async def work() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=_servers(cluster), acks="all")
        await producer.start()
        try:
            for record in records:
                headers = [] if record.organization is None else [("organization", record.organization)]
                await producer.send_and_wait(
                    f"{cluster.prefix}.{record.kind}",
                    record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=headers,
                )
        finally:
            await producer.stop()

    asyncio.run(work())


def ends(cluster: Cluster) -> dict[tuple[str, int], int]:
    """The offset behind the last record, by kind and partition."""

    async def work(consumer: AIOKafkaConsumer) -> dict[tuple[str, int], int]:
        found = await consumer.end_offsets(_partitions(cluster))
        return {(tp.topic.rpartition(".")[2], tp.partition): offset for tp, offset in found.items()}

    return _with_consumer(cluster, work)


def values(cluster: Cluster, kind: str) -> dict[int, list[bytes]]:
    """Every value that a kind's topic holds, by partition, in order."""

    async def work(consumer: AIOKafkaConsumer) -> dict[int, list[bytes]]:
        partitions = [tp for tp in _partitions(cluster) if tp.topic == f"{cluster.prefix}.{kind}"]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        last = await consumer.end_offsets(partitions)
        found: dict[int, list[bytes]] = {tp.partition: [] for tp in partitions}
        while any([await consumer.position(tp) < last[tp] for tp in partitions]):
            for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                found[tp.partition] += [record.value for record in records]
        return found

    return _with_consumer(cluster, work)


def delete_before(cluster: Cluster, offsets: Mapping[tuple[str, int], int]) -> None:
    """Deletes the first records of partitions, as retention does."""

    async def work() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=_servers(cluster))
        await admin.start()
        try:
            await admin.delete_records(
                {
                    TopicPartition(f"{cluster.prefix}.{kind}", partition): RecordsToDelete(offset)
                    for (kind, partition), offset in offsets.items()
                }
            )
        finally:
            await admin.close()

    asyncio.run(work())


def _with_consumer(cluster: Cluster, work: Callable[[AIOKafkaConsumer], Coroutine[Any, Any, T]]) -> T:
    async def opened() -> T:
        consumer = AIOKafkaConsumer(bootstrap_servers=_servers(cluster))
        await consumer.start()
        try:
            return await work(consumer)
        finally:
            await consumer.stop()

    return asyncio.run(opened())


def _partitions(cluster: Cluster) -> list[TopicPartition]:
    """Every partition, as the database has them."""
    with psycopg.connect(cluster.database_url) as connection:
        counts = connection.execute("select kind, partitions from store.log_topic").fetchall()
    return [TopicPartition(f"{cluster.prefix}.{kind}", number) for kind, count in counts for number in range(count)]


def _servers(cluster: Cluster) -> str:
    assert cluster.broker is not None
    return cluster.broker.address
