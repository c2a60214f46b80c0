"""Records by the column: none is lost, each with its own key, value and partition, and each organization's in their order."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from ingest.kafka import columns
from ingest.kafka.columns import Columns, Headers, by_organization, organization_header
from ingest.kafka.slices import Slice


class Read(NamedTuple):
    """A record as the consumer gives it."""

    headers: Headers
    key: bytes | None
    value: bytes | None


HEADERS = st.sampled_from(
    [(), (("organization", b"a"),), (("organization", b"b"),), (("trace", None), ("trace", b"1"))]
)
RECORDS = st.builds(Read, HEADERS, st.binary(max_size=2) | st.none(), st.binary(max_size=2) | st.none())
SLICES = st.lists(st.tuples(st.sampled_from(["trade", "view"]), st.integers(0, 3), st.lists(RECORDS, max_size=40)))


@given(SLICES, st.integers(1, 50))
def test_every_record_is_found_once_and_each_organization_s_stay_in_order(
    parts: list[tuple[str, int, list[Read]]], together: int
) -> None:
    before, columns._TOGETHER = columns._TOGETHER, together
    try:
        found = by_organization([Slice(kind, place, records, len(records), None) for kind, place, records in parts])
    finally:
        columns._TOGETHER = before
    expected: dict[tuple[str, bytes | None], list[tuple[Read, int]]] = {}
    for kind, place, records in parts:
        for record in records:
            expected.setdefault((kind, organization_header(record.headers)), []).append((record, place))
    assert found.keys() == expected.keys()
    for key, one in found.items():
        assert list(zip(one.records, one.places, strict=True)) == expected[key]
        assert one.keys == [record.key for record in one.records]
        assert one.values == [record.value for record in one.records]


@given(st.lists(RECORDS, min_size=1, max_size=30), st.data())
def test_some_of_them_stay_together(records: list[Read], data: st.DataObject) -> None:
    whole = Columns(records, [one.key for one in records], [one.value for one in records], list(range(len(records))))
    first, count = data.draw(st.integers(0, len(records))), data.draw(st.integers(0, 40))
    some = whole.some(first, count)
    assert some.places == list(range(first, min(first + count, len(records))))
    keep = data.draw(st.lists(st.booleans(), min_size=len(records), max_size=len(records)))
    kept = whole.only(keep)
    assert kept.places == [place for place, wanted in enumerate(keep) if wanted]
    for one in (some, kept):
        assert one.records == [records[place] for place in one.places]
        assert (one.keys, one.values) == ([r.key for r in one.records], [r.value for r in one.records])
