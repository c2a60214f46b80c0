"""Dead letters in Kafka: the whole record that could not be counted, with the reason and where it stood."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from ingest.kafka.cluster import Cluster
from ingest.kafka.intake import Dead
from ingest.kafka.records import Headers, Record

_OURS = ("reason", "topic", "partition", "offset", "time")


class Letter(NamedTuple):
    """A dead letter as it was read: where the record stood, why it is dead, and the record as it was."""

    kind: str
    partition: int
    offset: int
    reason: str
    record: Record


def to_record(cluster: Cluster, dead: Dead, now: dt.datetime) -> Record:
    """The record for the dead-letter topic: value, key and headers as they were, and five headers of ours."""
    letter, record = dead.letter, dead.record
    headers: Headers = [(name, value) for name, value in record.headers if name not in _OURS]
    headers += [
        ("reason", letter.reason.encode()),
        ("topic", cluster.topic(letter.kind).encode()),
        ("partition", str(letter.partition).encode()),
        ("offset", str(letter.offset).encode()),
        ("time", now.isoformat().encode()),
    ]
    # A record needs one of the two; a dead one may have had neither.
    value = b"" if record.key is None and record.value is None else record.value
    return Record(record.key, value, headers)


async def letters(cluster: Cluster) -> AsyncIterator[Letter]:
    """Every dead letter that Kafka holds, the oldest first. One may come twice: a worker that died wrote it again."""
    consumer = AIOKafkaConsumer(
        **cluster.client(), enable_auto_commit=False, auto_offset_reset="none", fetch_max_wait_ms=100
    )
    await consumer.start()
    try:
        only = TopicPartition(cluster.dead_letter_topic, 0)
        consumer.assign([only])
        end = (await consumer.end_offsets([only]))[only]
        consumer.seek(only, (await consumer.beginning_offsets([only]))[only])
        while await consumer.position(only) < end:
            for records in (await consumer.getmany(timeout_ms=500, max_records=1_000)).values():
                for record in records:
                    letter = _letter(cluster, record)
                    if letter is not None:
                        yield letter
    finally:
        await consumer.stop()


def _letter(cluster: Cluster, record: Any) -> Letter | None:
    """None for a record that is not ours: anybody may have written to the topic."""
    ours: Mapping[str, bytes] = {name: value for name, value in record.headers if name in _OURS}
    try:
        topic, partition, offset = ours["topic"].decode(), int(ours["partition"]), int(ours["offset"])
        reason = ours["reason"].decode()
    except (KeyError, ValueError):
        return None
    if not topic.startswith(cluster.prefix + "."):
        return None
    rest = [(name, value) for name, value in record.headers if name not in _OURS]
    return Letter(cluster.kind(topic), partition, offset, reason, Record(record.key, record.value, rest))
