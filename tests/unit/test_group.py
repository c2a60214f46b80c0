"""Batches made ready: keys that are known already give the same identities as those that are computed."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given, settings

from aggregators.definitions import ROLLUPS
from ingest.identity import keys
from ingest.log import Batch
from storage.group import pack_batch, prepare
from tests.samples import Sample, accepted, sample_lists

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
