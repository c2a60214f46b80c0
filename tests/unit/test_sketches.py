"""The sketches: quantiles within 1 % of sorted data, merging that equals the whole, distinct counts within their stated error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aggregators.sketches import bin_index, bin_of, bin_value, distinct, pack, quantile, register, unpack
from tests.one_pass import registers

QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)

_values = (
    st.floats(-1e18, 1e18, allow_subnormal=False)
    | st.floats(-1, 1, allow_subnormal=False)
    | st.integers(-5, 5).map(float)
    | st.sampled_from([0.0, -0.0, 1e-300, -1e-300, 2.3e-308, 1e18, -1e18, 1.0, -1.0])
)


def sketch(values: Sequence[float]) -> list[int]:
    """The packed bins of these values."""
    frame = pl.DataFrame({"value": pl.Series(values, dtype=pl.Float64)})
    cells = frame.group_by(bin_index(pl.col("value")).alias("index")).len()
    return sorted(cells.select(pack(pl.col("index"), pl.col("len")).alias("pair"))["pair"].to_list())


def added(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """Two sketches merged: the counts of equal bins add up."""
    counts: dict[int, int] = {}
    for index, count in map(unpack, [*one, *other]):
        counts[index] = counts.get(index, 0) + count
    return sorted((index << 40) + count for index, count in counts.items())


def smallest_reaching(values: Sequence[float], q: float) -> float:
    """quantile_disc by its definition: the smallest value whose cumulative count reaches q of all."""
    rank = math.ceil(Fraction(str(q)) * len(values))
    return sorted(values)[rank - 1]


@settings(max_examples=150, deadline=None)
@given(st.lists(_values, min_size=1, max_size=80))
@example([0.0, -0.0])
@example([1e18, -1e18, 1e-300, -1e-300])
@example([float(n) for n in range(1, 21)])
@example([1.0] * 1_000 + [2.0])
def test_quantiles_are_within_one_percent_of_sorted_data(values: list[float]) -> None:
    bins = sketch(values)
    for q in QUANTILES:
        expected, found = smallest_reaching(values, q), quantile(bins, q)
        assert found is not None
        assert abs(found - expected) <= 0.01 * abs(expected)


@pytest.mark.parametrize("n", [20, 40, 100, 1_000, 100_000])
def test_ranks_do_not_slip_by_floating_point(n: int) -> None:
    # Neighbours lie further apart than the error of a bin, so a wrong rank shows.
    values = [1.05 ** (position % 800) for position in range(n)]
    bins = sketch(values)
    for q in QUANTILES:
        assert quantile(bins, q) == pytest.approx(smallest_reaching(values, q), rel=0.01)


@settings(max_examples=100, deadline=None)
@given(st.lists(_values, min_size=1, max_size=60), st.integers(0, 60))
def test_a_merged_sketch_is_the_sketch_of_everything(values: list[float], cut: int) -> None:
    halves = [part for part in (values[:cut], values[cut:]) if part]
    merged: list[int] = []
    for part in halves:
        merged = added(merged, sketch(part))
    assert merged == sketch(values)
    assert merged == added(sketch(list(reversed(values))), [])


@given(st.lists(_values, min_size=2, max_size=40))
@settings(max_examples=100, deadline=None)
def test_bins_keep_the_order_of_values(values: list[float]) -> None:
    ordered = sorted(values)
    indexes = pl.DataFrame({"value": ordered}).select(bin_index(pl.col("value")).alias("index"))["index"].to_list()
    assert indexes == sorted(indexes)
    assert [bin_value(index) for index in indexes] == sorted(bin_value(index) for index in indexes)


def test_no_values_have_no_quantile() -> None:
    assert quantile(None, 0.5) is None
    assert quantile([], 0.5) is None


@given(index=st.integers(-80_000, 80_000), count=st.integers(0, 2**40 - 1))
def test_a_packed_pair_is_read_again(index: int, count: int) -> None:
    packed = pl.select(pack(pl.lit(index), pl.lit(count)).alias("pair")).item()
    assert unpack(packed) == (index, count)


def test_registers_are_those_of_the_published_algorithm() -> None:
    for name in ("", "u:ann", "s:漢字", *(f"u:{number}" for number in range(5_000))):
        assert [register(name)] == registers([name])


@pytest.mark.parametrize("count", [0, 1, 2, 10, 100, 1_000, 10_000, 100_000])
def test_distinct_counts_keep_their_error(count: int) -> None:
    errors = []
    for run in range(3 if count > 10_000 else 8):
        best: dict[int, int] = {}
        for packed in (register(f"u:{run}/{number}") for number in range(count)):
            best[packed >> 40] = max(best.get(packed >> 40, 0), packed)
        errors.append(distinct(best.values()) - count)
    if count <= 2:
        assert errors == [0] * len(errors)
    # Three standard errors of 1.6 % each, and a mean that is not biased by more than one.
    assert all(abs(error) <= max(1, 0.048 * count) for error in errors)
    assert abs(sum(errors) / len(errors)) <= max(1, 0.016 * count)


def test_nobody_is_no_distinct() -> None:
    assert distinct(None) == 0


@given(st.floats(1e-6, 1e9))
def test_a_value_that_stands_for_its_bin_falls_into_it_again(value: float) -> None:
    index = bin_of(value)
    assert abs(bin_value(index) - value) <= 0.01 * value
    frame = pl.DataFrame({"value": [bin_value(index)]})
    assert frame.select(bin_index(pl.col("value"))).item() == index == bin_of(bin_value(index))
