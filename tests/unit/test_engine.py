"""The engine against a one-pass computation that knows nothing of it: every figure of every rollup, over random events."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal, localcontext
from uuid import UUID

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregators.definitions import BY_NAME, ROLLUPS
from aggregators.engine import aggregate
from aggregators.frames import raw_frame, with_amounts
from tests.one_pass import Tables, differences, one_pass
from tests.samples import START, Sample, accepted, enterprise, sample_lists, trade

ORGANIZATIONS = (UUID(int=2), UUID(int=1))


def rolled_up(samples: Sequence[Sample]) -> list[Tables]:
    """What the engine makes of the samples: one set of tables for each part."""
    parts: list[Tables] = []
    events = accepted(samples)
    for rollup in ROLLUPS:
        members = [
            (str(ORGANIZATIONS[sample.organization]), event)
            for sample, event in zip(samples, events, strict=True)
            if event.kind == rollup.event
        ]
        frame = raw_frame(rollup.event, [one for one, _ in members], [event for _, event in members])
        for number, part in enumerate(aggregate(rollup, with_amounts(rollup.event, frame))):
            while len(parts) <= number:
                parts.append({(one.name, grain): {} for one in ROLLUPS for grain in one.grains})
            for grain, rows in part.items():
                assert rows.equals(rows.sort("organization", "bucket", *rollup.keys))
                parts[number][rollup.name, grain] = _by_key(rows, rollup.keys)
    return parts


def _by_key(rows: pl.DataFrame, keys: Sequence[str]) -> dict[tuple[object, ...], dict[str, object]]:
    found = {}
    for row in rows.iter_rows(named=True):
        place = (UUID(row.pop("organization")), int(row.pop("bucket").timestamp()), *(row.pop(key) for key in keys))
        if "last_time" in row:
            row["last_time"] = (row["last_time"] - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(
                microseconds=1
            )
        found[place] = row
    return found


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_rollups_equal_a_one_pass_computation_in_any_order(data: st.DataObject) -> None:
    samples = data.draw(sample_lists())
    shuffled = data.draw(st.permutations(samples))
    expected = one_pass(samples, ORGANIZATIONS)
    for order in (samples, shuffled):
        parts = rolled_up(order)
        assert differences(expected, _merged(parts)) == []


def _merged(parts: Sequence[Tables]) -> Tables:
    """Parts are merged by the database; here by hand, for the figures that add, and only where there are several."""
    if len(parts) == 1:
        return parts[0]
    merged: Tables = {name: {} for name in parts[0]}
    for part in parts:
        for name, rows in part.items():
            for key, row in rows.items():
                known = merged[name].get(key)
                merged[name][key] = row if known is None else _add(name[0], known, row)
    return merged


def _add(rollup: str, one: dict[str, object], other: dict[str, object]) -> dict[str, object]:
    place = ("last_time", "last_source", "last_id")
    newer = other if [other.get(name) for name in place] > [one.get(name) for name in place] else one
    result = {name: newer[name] for name in place if name in one}
    for name in one.keys() - set(place):
        pair = [one[name], other[name]]
        match BY_NAME[rollup].measure(name).merge:
            case "add":
                result[name] = _sum(pair)
            case "min":
                result[name] = min(pair)  # type: ignore[type-var]
            case "max":
                result[name] = max(pair)  # type: ignore[type-var]
            case "last":
                result[name] = newer[name]
            case "bins":
                counts: dict[int, int] = {}
                for packed in (item for items in pair for item in items):  # type: ignore[attr-defined]
                    counts[packed >> 40] = counts.get(packed >> 40, 0) + packed % 2**40
                result[name] = sorted((index << 40) + count for index, count in counts.items())
            case "registers":
                best: dict[int, int] = {}
                for packed in (item for items in pair for item in items):  # type: ignore[attr-defined]
                    best[packed >> 40] = max(best.get(packed >> 40, 0), packed)
                result[name] = sorted(best.values())
    return result


def _sum(pair: list[object]) -> object:
    # A decimal context of the usual 28 digits would round what the database's numeric keeps.
    with localcontext(prec=80):
        return pair[0] + pair[1]  # type: ignore[operator]


def test_trades_near_the_bound_stay_exact_by_the_hundreds() -> None:
    largest = "999999999999999999.999999999999999999"
    samples = [trade(f"w{n}", largest, fees=Decimal("-" + largest)) for n in range(300)]
    samples += [trade(f"l{n}", "-" + largest, fees=Decimal(largest), user_id="bob") for n in range(300)]
    parts = rolled_up(samples)
    assert differences(one_pass(samples, ORGANIZATIONS), _merged(parts)) == []


def test_reports_near_the_bound_stay_exact_by_the_hundreds() -> None:
    largest = "999999999999999999.999999999999999999"
    samples = [enterprise(f"e{n}", largest if n % 3 else "-0.000000000000000001") for n in range(700)]
    assert differences(one_pass(samples, ORGANIZATIONS), _merged(rolled_up(samples))) == []


def test_positions_held_for_decades_do_not_overflow_the_sum_of_their_times() -> None:
    # 26 years are 8.2e14 µs: the sum of 12,000 of them needs more than 63 bits.
    opened = "2000-01-01T00:00:00+00:00"
    samples = [trade(f"t{n}", "1", opened_at=opened, closed_at=START.isoformat()) for n in range(12_000)]
    parts = rolled_up(samples)
    assert differences(one_pass(samples, ORGANIZATIONS), _merged(parts)) == []
