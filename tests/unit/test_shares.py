"""Turns among partitions: all go on alike, the topics one after the other, and no record is lost or out of order, whatever fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from ingest.kafka import shares
from ingest.kafka.shares import Records, Shares

TRADES = [TopicPartition("trade", number) for number in range(4)]
VIEWS = [TopicPartition("view", number) for number in range(2)]


class Fetched:
    """A consumer that has fetched records already: it hands out all of one partition before it looks at the next, as aiokafka does.

    A record is its offset. `failures` says which calls raise, counted from 1.
    """

    def __init__(self, sizes: dict[TopicPartition, int], failures: frozenset[int] = frozenset()) -> None:
        self.left = {partition: list(range(size)) for partition, size in sizes.items()}
        self.failures = failures
        self.calls = 0

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self.left)

    def paused(self) -> frozenset[TopicPartition]:
        return frozenset()

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int = 500) -> Records:
        self.calls += 1
        if self.calls in self.failures:
            raise KafkaError
        found: Records = {}
        for partition in self.left:
            if partitions and partition not in partitions:
                continue
            some = self.left[partition][:max_records]
            if some:
                found[partition], self.left[partition] = some, self.left[partition][max_records:]
                max_records -= len(some)
            if not max_records:
                break
        return found


def take(shares: Shares, consumer: Fetched, most: int) -> Records:
    """One poll."""
    return asyncio.run(shares.take(consumer, most, 0.1))


def sizes(records: Records) -> dict[TopicPartition, int]:
    """How many records each partition gave."""
    return {partition: len(some) for partition, some in records.items()}


def test_partitions_of_a_backlog_go_on_alike() -> None:
    turns, consumer = Shares(), Fetched(dict.fromkeys(TRADES, 50_000))
    assert sizes(take(turns, consumer, 10_000)) == dict(zip(TRADES, (3_000, 3_000, 2_000, 2_000), strict=True))
    # Whoever had less comes first now.
    assert sizes(take(turns, consumer, 10_000)) == dict(zip(TRADES, (2_000, 2_000, 3_000, 3_000), strict=True))
    assert sizes(take(turns, consumer, 10)) == {TRADES[0]: 10}


def test_a_partition_that_had_nothing_at_hand_makes_it_good() -> None:
    turns, consumer = Shares(), Fetched(dict.fromkeys(TRADES, 50_000))
    late = consumer.left[TRADES[1]]
    consumer.left[TRADES[1]] = []
    take(turns, consumer, 9_000)
    consumer.left[TRADES[1]] = late
    assert sizes(take(turns, consumer, 7_000)) == {
        TRADES[1]: 4_000,
        TRADES[0]: 1_000,
        TRADES[2]: 1_000,
        TRADES[3]: 1_000,
    }


def test_what_was_idle_for_long_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "_ARREARS", 2_000)
    turns, consumer = Shares(), Fetched({TRADES[0]: 0, TRADES[1]: 500_000})
    take(turns, consumer, 400_000)
    consumer.left[TRADES[0]] = list(range(100_000))
    assert sizes(take(turns, consumer, 6_000)) == {TRADES[0]: 4_000, TRADES[1]: 2_000}


def test_topics_take_turns_and_are_not_mixed_while_one_has_enough() -> None:
    turns, consumer = Shares(), Fetched({**dict.fromkeys(VIEWS, 12_000), **dict.fromkeys(TRADES, 12_000)})
    topics = [sorted({partition.topic for partition in take(turns, consumer, 8_000)}) for _ in range(4)]
    # A turn is of as many records a partition: trades have twice the partitions.
    assert topics == [["view"], ["trade"], ["trade"], ["view"]]
    take(turns, consumer, 8_000)
    assert {partition.topic for partition in take(turns, consumer, 50_000)} == {"trade", "view"}


def test_it_waits_where_nothing_is_at_hand() -> None:
    assert take(Shares(), Fetched(dict.fromkeys(TRADES, 0)), 1_000) == {}


@given(
    st.dictionaries(st.sampled_from(TRADES + VIEWS), st.integers(0, 7_000), min_size=1),
    st.lists(st.integers(300, 6_000), min_size=1, max_size=5),
    st.frozensets(st.integers(1, 40), max_size=8),
)
def test_every_record_comes_once_and_in_order_whatever_fails(
    held: dict[TopicPartition, int], rooms: list[int], failures: frozenset[int]
) -> None:
    turns, consumer = Shares(), Fetched(held, failures)
    found: dict[TopicPartition, list[Any]] = {}
    raised = idle = 0
    while idle < 10 or consumer.calls <= max(failures, default=0):
        most = rooms[consumer.calls % len(rooms)]
        try:
            some = take(turns, consumer, most)
        except KafkaError:
            raised += 1
            continue
        idle += not some
        assert sum(map(len, some.values())) <= most
        for partition, records in some.items():
            found.setdefault(partition, []).extend(records)
    assert found == {partition: list(range(size)) for partition, size in held.items() if size}
    assert raised == len(failures)
