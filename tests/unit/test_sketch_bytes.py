"""Stored sketches: read byte by byte they are what was written, equal ones have equal bytes, and several in a row are told apart."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aggregators.sketch_bytes import read_sketches, write_sketches
from aggregators.sketch_columns import Sketches
from tests.one_pass import pairs

Sketch = dict[int, int]
"""Values by index."""

_indexes = st.integers(-90_000, 90_000) | st.integers(-3, 3) | st.integers(50_000, 50_200)
_values = (
    st.integers(1, 2**40 - 1) | st.integers(1, 300) | st.sampled_from([1, 127, 128, 16_383, 16_384, 2**35, 2**40 - 1])
)
_sketches = st.dictionaries(_indexes, _values, max_size=12)
_rows = st.lists(_sketches, max_size=8)


def packed(sketch: Sketch) -> list[int]:
    """The sorted pairs of a sketch."""
    return sorted((index << 40) + value for index, value in sketch.items())


def column(rows: list[Sketch], merge: str = "bins") -> Sketches:
    """The sketches of some rows."""
    owners = [number for number, row in enumerate(rows) for _ in row]
    found = [(index, row[index]) for row in rows for index in sorted(row)]
    indexes, values = np.array(found, dtype=np.int64).reshape(-1, 2).T
    return Sketches(np.array(owners, dtype=np.int64), indexes, values, merge, whole=True)


def written(rows: list[Sketch]) -> list[bytes]:
    """The bytes of each row."""
    everything, ends = write_sketches(column(rows), len(rows))
    assert len(everything) == (ends[-1] if rows else 0)
    return (
        [everything[start:end] for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]
        if rows
        else []
    )


def of_rows(sketches: Sketches, height: int) -> list[list[int]]:
    """The pairs of each row."""
    assert sketches.whole
    pairs = (sketches.indexes << 40) + sketches.values
    return [pairs[sketches.owners == row].tolist() for row in range(height)]


@settings(max_examples=300, deadline=None)
@given(_rows)
@example([])
@example([{}])
@example([{0: 1}, {}, {0: 2**40 - 1, 1: 1}])
@example([{-90_000: 128, 90_000: 127}])
def test_what_is_written_is_read_again(rows: list[Sketch]) -> None:
    stored = written(rows)
    assert [pairs(one) if one else [] for one in stored] == [packed(row) for row in rows]
    assert of_rows(read_sketches(stored, "bins"), len(rows)) == [packed(row) for row in rows]


# Sums stay below 2**40, as a bin's count does.
@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.dictionaries(_indexes, st.integers(1, 2**36)), max_size=8), min_size=1, max_size=5))
def test_sketches_one_behind_the_other_merge_to_their_sum(groups: list[list[Sketch]]) -> None:
    expected = []
    for group in groups:
        total: Sketch = {}
        for sketch in group:
            for index, value in sketch.items():
                total[index] = total.get(index, 0) + value
        expected.append(total)
    stored = [b"".join(written(group)) for group in groups]
    assert of_rows(read_sketches(stored, "bins").merged(), len(groups)) == [packed(total) for total in expected]


@settings(max_examples=100, deadline=None)
@given(_sketches, st.lists(_sketches, max_size=3), st.lists(_sketches, max_size=3))
def test_equal_sketches_have_equal_bytes_whatever_stands_around_them(
    sketch: Sketch, before: list[Sketch], after: list[Sketch]
) -> None:
    assert written([*before, sketch, *after])[len(before)] == written([sketch])[0]


def test_a_day_of_measurements_takes_little_over_two_bytes_a_bin() -> None:
    bins = {50_000 + index: 1 + index % 20 for index in range(150)}
    assert len(written([bins])[0]) <= 2 * len(bins) + 3
