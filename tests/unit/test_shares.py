"""Turns among partitions: all go on alike, the topics one after the other, and no record is lost or out of order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, NoOffsetForPartitionError
from hypothesis import given
from hypothesis import strategies as st

from ingest.kafka import shares
from ingest.kafka.shares import Records, Shares

TRADES = [TopicPartition("trade", number) for number in range(4)]
VIEWS = [TopicPartition("view", number) for number in range(2)]


class Fetched:
    """A consumer that has fetched records already: it hands out all of one partition before it looks at the next, as aiokafka does.

    A record is its offset. `arriving` comes while it waits, `held_back` are paused; `failures` says which call raises what.
    """

    def __init__(
        self,
        sizes: dict[TopicPartition, int],
        *,
        arriving: dict[TopicPartition, int] | None = None,
        held_back: frozenset[TopicPartition] = frozenset(),
        failures: dict[int, KafkaError] | None = None,
    ) -> None:
        self.left = {partition: list(range(size)) for partition, size in sizes.items()}
        self.arriving = arriving or {}
        self.held_back = held_back
        self.failures = failures or {}
        self.calls = 0
        self.waits: list[int] = []

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self.left)

    def paused(self) -> frozenset[TopicPartition]:
        return self.held_back

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int = 500) -> Records:
        assert not self.held_back.intersection(partitions)
        self.calls += 1
        if self.calls in self.failures:
            raise self.failures[self.calls]
        if timeout_ms:
            self.waits.append(timeout_ms)
            for partition, size in self.arriving.items():
                self.left[partition] += range(len(self.left[partition]), size)
        found: Records = {}
        for partition in self.left.keys() - self.held_back:
            if partitions and partition not in partitions:
                continue
            some = self.left[partition][:max_records]
            if some:
                found[partition], self.left[partition] = some, self.left[partition][max_records:]
                max_records -= len(some)
            if not max_records:
                break
        return found


def take(turns: Shares, consumer: Fetched, most: int) -> Records:
    """One poll."""
    return asyncio.run(turns.take(consumer, most, 0.1))


def sizes(records: Records) -> dict[TopicPartition, int]:
    """How many records each partition gave."""
    return {partition: len(some) for partition, some in records.items()}


def topics(records: Records) -> set[str]:
    """Whose records they are."""
    return {partition.topic for partition in records}


def test_partitions_of_a_backlog_go_on_alike() -> None:
    turns, consumer = Shares(), Fetched(dict.fromkeys(TRADES, 50_000))
    first = sizes(take(turns, consumer, 10_000))
    assert sorted(first.values()) == [2_000, 2_000, 3_000, 3_000]
    second = sizes(take(turns, consumer, 10_000))
    assert {partition: first[partition] + second[partition] for partition in TRADES} == dict.fromkeys(TRADES, 5_000)
    assert sum(sizes(take(turns, consumer, 10)).values()) == 10


def test_a_partition_that_had_nothing_at_hand_makes_it_good() -> None:
    turns, consumer = Shares(), Fetched(dict.fromkeys(TRADES, 50_000))
    late, consumer.left[TRADES[1]] = consumer.left[TRADES[1]], []
    take(turns, consumer, 9_000)
    consumer.left[TRADES[1]] = late
    expected = {TRADES[0]: 1_000, TRADES[1]: 4_000, TRADES[2]: 1_000, TRADES[3]: 1_000}
    assert sizes(take(turns, consumer, 7_000)) == expected


def test_what_was_idle_for_long_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "_ARREARS", 2_000)
    turns, consumer = Shares(), Fetched({TRADES[0]: 0, TRADES[1]: 500_000})
    take(turns, consumer, 400_000)
    consumer.left[TRADES[0]] = list(range(100_000))
    assert sizes(take(turns, consumer, 6_000)) == {TRADES[0]: 4_000, TRADES[1]: 2_000}


def test_topics_take_turns_and_are_not_mixed_while_one_has_enough() -> None:
    turns, consumer = Shares(), Fetched({**dict.fromkeys(VIEWS, 12_000), **dict.fromkeys(TRADES, 6_000)})
    found = [topics(take(turns, consumer, 8_000)) for _ in range(6)]
    assert found == [{"trade"}, {"view"}, {"trade"}, {"view"}, {"trade"}, {"view"}]
    mixed = Fetched({**dict.fromkeys(VIEWS, 1_000), **dict.fromkeys(TRADES, 6_000)})
    assert topics(take(Shares(), mixed, 50_000)) == {"trade", "view"}


def test_a_topic_that_was_idle_for_long_holds_up_no_other_for_more_than_a_turn() -> None:
    turns, consumer = Shares(), Fetched({VIEWS[0]: 0, TRADES[0]: 200_000})
    take(turns, consumer, 100_000)
    consumer.left[VIEWS[0]] = list(range(100_000))
    assert [topics(take(turns, consumer, 8_000)) for _ in range(4)] == [{"view"}, {"trade"}, {"view"}, {"trade"}]


def test_it_waits_only_where_nothing_is_at_hand_and_then_takes_what_came_in_turns() -> None:
    consumer = Fetched(dict.fromkeys(TRADES, 0), arriving=dict.fromkeys(TRADES, 3_000))
    assert sizes(take(Shares(), consumer, 8_000)) == dict.fromkeys(TRADES, 2_000)
    assert consumer.waits == [100]
    take(Shares(), consumer, 2_000)
    assert consumer.waits == [100]
    assert take(Shares(), Fetched(dict.fromkeys(TRADES, 0)), 1_000) == {}
    few = Fetched({TRADES[0]: 0}, arriving={TRADES[0]: 3_000})
    assert sizes(take(Shares(), few, 10)) == {TRADES[0]: 10}


def test_what_is_paused_is_left_alone() -> None:
    consumer = Fetched(dict.fromkeys(TRADES, 500), held_back=frozenset(TRADES[:2]))
    assert sizes(take(Shares(), consumer, 8_000)) == {TRADES[2]: 500, TRADES[3]: 500}


def test_an_error_is_raised_at_once() -> None:
    """Something of that call may be lost, so nothing may be written as if all before it were known."""
    consumer = Fetched(dict.fromkeys(TRADES, 5_000), failures={3: CorruptRecordException()})
    with pytest.raises(CorruptRecordException):
        take(Shares(), consumer, 8_000)


@given(
    st.dictionaries(st.sampled_from(TRADES + VIEWS), st.integers(0, 7_000), min_size=1),
    st.lists(st.integers(300, 6_000), min_size=1, max_size=5),
    st.frozensets(st.integers(2, 40), max_size=8),
)
def test_every_record_comes_once_and_in_order_whatever_is_not_claimed_yet(
    held: dict[TopicPartition, int], rooms: list[int], failures: frozenset[int]
) -> None:
    turns, consumer = Shares(), Fetched(held, failures=dict.fromkeys(failures, NoOffsetForPartitionError()))
    found: dict[TopicPartition, list[Any]] = {}
    idle = 0
    while idle < 10 or consumer.calls <= max(failures, default=0):
        most = rooms[consumer.calls % len(rooms)]
        try:
            some = take(turns, consumer, most)
        except NoOffsetForPartitionError:
            # Only while it waited, with nothing in hand.
            some = {}
        idle += not some
        assert sum(map(len, some.values())) <= most
        for partition, records in some.items():
            found.setdefault(partition, []).extend(records)
    assert found == {partition: list(range(size)) for partition, size in held.items() if size}
