"""Partitions: the same for every key as Kafka's own partitioners, and related as their numbers are."""

from __future__ import annotations

import numpy as np
from aiokafka.partitioner import DefaultPartitioner, murmur2
from hypothesis import given
from hypothesis import strategies as st

from ingest.partitions import home_partitions
from ingest.partitions import murmur2 as ours
from storage.ledger import LedgerName

_KEYS = st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=20)


@given(keys=_KEYS)
def test_the_hash_is_that_of_kafkas_client(keys: list[bytes]) -> None:
    assert ours(b"".join(keys)).tolist() == [murmur2(key) for key in keys]


@given(keys=_KEYS, count=st.integers(1, 1_000))
def test_the_partition_is_that_of_kafkas_client(keys: list[bytes], count: int) -> None:
    partitioner = DefaultPartitioner()
    everyone = list(range(count))
    assert home_partitions(b"".join(keys), count).tolist() == [partitioner(key, everyone, everyone) for key in keys]


def test_there_may_be_no_keys() -> None:
    assert home_partitions(b"", 8).tolist() == []


@given(key=st.binary(min_size=16, max_size=16), now=st.integers(0, 60), counts=st.sets(st.integers(1, 60), max_size=4))
def test_a_ledgers_relatives_are_all_that_may_know_its_identities(key: bytes, now: int, counts: set[int]) -> None:
    here = LedgerName("trade", int(home_partitions(key, now)[0]), now) if now else LedgerName("trade")
    relatives = here.relatives(counts)
    assert len(set(relatives)) == len(relatives)
    assert here not in relatives
    for count in counts - {now}:
        assert LedgerName("trade", int(home_partitions(key, count)[0]), count) in relatives
    assert (LedgerName("trade") in relatives) == bool(now)
    # Doubled again and again, a partition has one relative at each number before.
    doubled = LedgerName("trade", int(home_partitions(key, 32)[0]), 32)
    assert len(doubled.relatives([2, 4, 8, 16])) == 1 + 4


def test_relatives_of_the_direct_ledger_are_all_partitions() -> None:
    assert [str(name) for name in LedgerName("view").relatives([2])] == ["view/0/2", "view/1/2"]


def test_keys_spread_over_the_partitions() -> None:
    keys = np.random.default_rng(1).bytes(16 * 20_000)
    found = np.bincount(home_partitions(keys, 8), minlength=8)
    assert found.min() > 2_300
