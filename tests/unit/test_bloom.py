"""Bloom filters: what was put in is always found, asked one by one or all together, and little else is."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.bloom import BITS_AN_ID, Filters, filter_of, split, usual_bits

OF_EIGHT = "2e9a7bc069d551ca4d36b62de618278ff47690c15c60b756"
"""The filter of the first eight ids as version 1 of the format has it: filters are in the database, so its places never change."""


def ids(first: int, count: int) -> list[bytes]:
    """So many different ids."""
    return [hashlib.blake2b(str(number).encode(), digest_size=16).digest() for number in range(first, first + count)]


def asked(filters: Filters, those: list[bytes]) -> set[tuple[int, int]]:
    """Which filter may hold which of them."""
    return set(filters.possible(split(b"".join(those))))


@given(
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=70),
    gone=st.sets(st.integers(0, 69)),
    again=st.integers(0, 3),
)
def test_every_id_is_found_in_the_slice_that_has_it(sizes: list[int], gone: set[int], again: int) -> None:
    usual = usual_bits(20)
    slices = {number: ids(1000 * number, size) for number, size in enumerate(sizes)}
    slices |= {1000 + number: ids(1_000_000 + 1000 * number, 20) for number in range(again)}
    filters = Filters()
    for number in range(len(sizes)):
        filters.add(number, filter_of(b"".join(slices[number]), usual))
    for number in gone & slices.keys():
        filters.remove(number)
        del slices[number]
    for number in range(1000, 1000 + again):
        filters.add(number, filter_of(b"".join(slices[number]), usual))
    assert filters.numbers() == slices.keys()
    everything = [item for number in slices for item in slices[number]]
    owners = [number for number in slices for _ in slices[number]]
    found = asked(filters, everything)
    assert {(owner, position) for position, owner in enumerate(owners)} <= found
    assert {number for number, _ in found} <= slices.keys()


@pytest.mark.parametrize("count", [1, 64, 65])
def test_few_others_are_taken_for_known(count: int) -> None:
    filters = Filters()
    for number in range(count):
        filters.add(number, filter_of(b"".join(ids(3000 * number, 3000)), usual_bits(3000)))
    assert len(asked(filters, ids(10_000_000, 5_000))) < 5_000 * count / 2_000
    for number in {0, count - 1}:
        assert {(number, position) for position in range(3000)} <= asked(filters, ids(3000 * number, 3000))


def test_a_filter_of_a_size_of_its_own_and_one_that_was_written_long_ago_are_read() -> None:
    filters = Filters()
    filters.add(1, filter_of(b"".join(ids(500, 50)), usual_bits(4)))
    filters.add(2, bytes.fromhex(OF_EIGHT))
    filters.add(3, filter_of(b"".join(ids(600, 4)), usual_bits(4)))
    assert {(2, position) for position in range(8)} <= asked(filters, ids(0, 8))
    assert {(1, position) for position in range(50)} <= asked(filters, ids(500, 50))
    assert {(3, position) for position in range(4)} <= asked(filters, ids(600, 4))
    assert filter_of(b"".join(ids(0, 8)), 8 * BITS_AN_ID) == bytes.fromhex(OF_EIGHT)
