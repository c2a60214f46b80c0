"""Batches made ready: each identity is the same whether its key was known, and is held against the ledger that knows it."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregators.definitions import ROLLUPS
from ingest.identity import identities, keys
from ingest.log import Batch, Position
from ingest.partitions import home_partitions
from storage.group import pack_batch, prepare
from tests.samples import Sample, accepted, sample_lists, trade

OWNER = UUID(int=3)


def both(samples: list[Sample]) -> tuple[Batch, Batch]:
    """The same batch without its keys and with them."""
    events = accepted(samples)
    known = [keys(OWNER, event.kind, [event])[0] for event in events]
    return Batch(OWNER, events), Batch(OWNER, events, known)


@settings(deadline=None, max_examples=50)
@given(sample_lists(numbered=True))
def test_known_keys_are_the_identities(samples: list[Sample]) -> None:
    plain, keyed = (pack_batch(batch) for batch in both(samples))
    assert [part.hashes for part in plain.parts] == [part.hashes for part in keyed.parts]
    assert all(one.frame.equals(other.frame) for one, other in zip(plain.parts, keyed.parts, strict=True))


@settings(deadline=None, max_examples=20)
@given(sample_lists(numbered=True, max_size=10), sample_lists(max_size=10))
def test_small_batches_are_prepared_together_whether_their_keys_are_known(
    one: list[Sample], other: list[Sample]
) -> None:
    (first, first_keyed), (second, second_keyed) = both(one), both(other)
    expected = [(work.kind, [some.hashes for some in work.identities]) for work in prepare([first, second], ROLLUPS)]
    for group in ([first_keyed, second_keyed], [first_keyed, second]):
        assert [(work.kind, [some.hashes for some in work.identities]) for work in prepare(group, ROLLUPS)] == expected


def held(kind: str, partitions: list[int], count: int) -> list[Position]:
    """Positions of these partitions of a kind."""
    return [Position(kind, partition, count, epoch=1, expected=0, next=1, appended=None) for partition in partitions]


@settings(deadline=None, max_examples=20)
@given(sample_lists(numbered=True), st.integers(1, 5))
def test_each_identity_is_held_against_the_ledger_of_its_partition(samples: list[Sample], count: int) -> None:
    batch = Batch(OWNER, accepted(samples))
    kinds = {event.kind for event in batch.events}
    positions = [position for kind in kinds for position in held(kind, list(range(count)), count)]
    for divided, whole in zip(prepare([batch], ROLLUPS, None, positions), prepare([batch], ROLLUPS), strict=True):
        named = [event for event in batch.events if event.kind == divided.kind and event.sequence is None]
        assert divided.numbered == whole.numbered == (divided.frame.height > len(named))
        hashes = identities(OWNER, divided.kind, named)
        assert [some.hashes for some in whole.identities] == ([hashes] if hashes else [])
        found = {}
        for some in divided.identities:
            assert (some.name.kind, some.name.partitions) == (divided.kind, count)
            assert home_partitions(b"".join(some.hashes), count).tolist() == [some.name.partition] * len(some.hashes)
            assert some.halves.tobytes() == b"".join(some.hashes)
            assert some.different == set(some.hashes)
            found |= dict(zip(some.rows.tolist(), some.hashes, strict=True))
        assert found == dict(enumerate(hashes))


def test_an_event_of_a_partition_that_is_not_held_is_refused() -> None:
    event = accepted([trade("t1")])[0]
    home = int(home_partitions(keys(OWNER, "trade", [event])[0], 2)[0])
    with pytest.raises(ValueError, match=f"trade/{home} is written without its position"):
        prepare([Batch(OWNER, [event])], ROLLUPS, None, held("trade", [1 - home], 2))
