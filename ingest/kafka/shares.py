"""Whose records are taken next: the topics take turns, and the partitions of one go on alike."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError

STEP = 1_000
"""Records that a partition gives before another one has its turn."""

_ARREARS = 5_000
"""Records that a partition makes good at most where it gave fewer than another: what was idle for days does not hold up all others."""

Records = dict[TopicPartition, list[Any]]


class Shares:
    """Takes the records that a consumer has fetched: first of the topic whose turn is the longest ago, of its partitions alike.

    By itself aiokafka hands out all it has of one partition before it looks at the next. Behind a backlog a group of events would
    come from one or two partitions, out of a span of time several times as long as that of as many events of all partitions; and
    rollups, which have a row a bucket, would have several times as many rows to write. Topics are not mixed for the same reason,
    as long as one has enough.
    """

    def __init__(self) -> None:
        self._given: dict[TopicPartition, int] = {}
        self._turns: dict[str, int] = {}

    async def take(self, consumer: AIOKafkaConsumer, most: int, seconds: float) -> Records:
        """At most so many records, by partition; none where there are none within about so many seconds.

        Raises KafkaError. What was taken by then is the consumer's no longer: everything must be read again from where it is known.
        """
        found: Records = {}
        await self._take_at_hand(consumer, most, found)
        if not found:
            # Whatever comes first.
            self._add(found, await consumer.getmany(timeout_ms=int(seconds * 1000), max_records=min(STEP, most)))
            if found:
                await self._take_at_hand(consumer, most, found)
        return found

    async def _take_at_hand(self, consumer: AIOKafkaConsumer, most: int, found: Records) -> None:
        """Adds what was fetched already, until there are so many."""
        room = most - sum(map(len, found.values()))
        for asked in self._in_turn(consumer):
            while asked and room > 0:
                least = min(self._given[partition] for partition in asked) // STEP
                first = [partition for partition in asked if self._given[partition] // STEP == least]
                try:
                    records = await consumer.getmany(*first, max_records=min(STEP, room))
                except NoOffsetForPartitionError:
                    # Of a partition that is not claimed yet. It has left the consumer, and nothing else has.
                    continue
                if not records:
                    asked.difference_update(first)
                room -= self._add(found, records)

    def _in_turn(self, consumer: AIOKafkaConsumer) -> list[set[TopicPartition]]:
        """The partitions that are read, by topic."""
        topics: dict[str, set[TopicPartition]] = {}
        for partition in consumer.assignment() - consumer.paused():
            topics.setdefault(partition.topic, set()).add(partition)
        given: dict[TopicPartition, int] = {}
        for asked in topics.values():
            least = max(self._given.get(partition, 0) for partition in asked) - _ARREARS
            given |= {partition: max(self._given.get(partition, 0), least) for partition in asked}
        self._given = given
        return [topics[topic] for topic in sorted(topics, key=lambda topic: (self._turns.get(topic, 0), topic))]

    def _add(self, found: Records, records: Records) -> int:
        """Adds records to what was found; how many they are."""
        for partition, some in records.items():
            found.setdefault(partition, []).extend(some)
            self._given[partition] = self._given.get(partition, 0) + len(some)
            self._turns[partition.topic] = max(self._turns.values(), default=0) + 1
        return sum(map(len, records.values()))
