"""Statistics of daily results: by hand where the first day loses, and against a computation of numpy in floats."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregators.statistics import (
    Fall,
    Streaks,
    daily_returns,
    deepest_fall,
    deepest_relative_fall,
    equity_curve,
    rounded_share,
    sharpe_ratio,
    sortino_ratio,
    streaks,
)

D = Decimal


def test_a_first_day_that_loses_is_a_drawdown_from_the_starting_equity() -> None:
    equity = equity_curve([-100, 50, -30, 200], D(1_000))
    assert equity == [900, 950, 920, 1_120]
    expected = Fall(D(100), D(10), None, 0, 3, D(1_000), D(900))
    assert deepest_fall(equity, D(1_000)) == deepest_relative_fall(equity, D(1_000)) == expected


def test_without_a_starting_equity_the_first_loss_counts_and_has_no_per_cents() -> None:
    equity = equity_curve([D("-0.1"), D("-0.2"), D("0.15")], D(0))
    assert deepest_fall(equity, D(0)) == Fall(D("0.3"), None, None, 1, None, D(0), D("-0.3"))
    assert deepest_relative_fall(equity, D(0)) is None
    # A peak that was won is no starting equity either.
    equity = equity_curve([100, -50], D(0))
    assert deepest_fall(equity, D(0)) == Fall(D(50), None, 0, 1, None, D(100), D(50))


def test_all_that_was_lost_on_the_only_day() -> None:
    equity = equity_curve([-1_000], D(1_000))
    assert deepest_relative_fall(equity, D(1_000)) == Fall(D(1_000), D(100), None, 0, None, D(1_000), D(0))
    # More than all is more than 100 %.
    fall = deepest_relative_fall(equity_curve([-1_500], D(1_000)), D(1_000))
    assert fall is not None
    assert fall.percent == 150


def test_the_deepest_fall_by_amount_and_the_one_in_per_cent_may_be_two() -> None:
    # 100, 60 (40 of 100: 40 %), 1000, 800 (200 of 1000: 20 %), 1000.
    equity = equity_curve([-40, 940, -200, 200], D(100))
    assert deepest_fall(equity, D(100)) == Fall(D(200), D(20), 1, 2, 3, D(1_000), D(800))
    assert deepest_relative_fall(equity, D(100)) == Fall(D(40), D(40), None, 0, 1, D(100), D(60))


def test_a_fall_begins_on_the_day_that_reached_the_peak_and_of_equal_ones_the_first_counts() -> None:
    equity = equity_curve([10, 0, 0, -5, 0, -5, 0, 10, -10, 0], D(0))
    assert deepest_fall(equity, D(0)) == Fall(D(10), None, 0, 5, 7, D(10), D(0))
    # Back at the peak for a day, and down again: the fall is the second one.
    equity = equity_curve([10, 0, -1, 1, 0, -5], D(0))
    assert deepest_fall(equity, D(0)) == Fall(D(5), None, 3, 5, None, D(10), D(5))
    equity = equity_curve([0, 0, -1, 1, 0, -5], D(0))
    assert deepest_fall(equity, D(0)) == Fall(D(5), None, 3, 5, None, D(0), D(-5))
    equity = equity_curve([0, 0, -5], D(0))
    assert deepest_fall(equity, D(0)) == Fall(D(5), None, None, 2, None, D(0), D(-5))


def test_equity_that_never_fell_has_no_drawdown() -> None:
    assert deepest_fall([], D(5)) is None
    assert deepest_fall(equity_curve([0, 1, 0, 2], D(0)), D(0)) is None
    assert deepest_relative_fall(equity_curve([0, 1], D(5)), D(5)) is None


def test_equity_keeps_every_digit() -> None:
    tiny, huge = D("1E-18"), D("999999999999999999.999999999999999999")
    assert equity_curve([huge] * 9 + [tiny], D(0))[-1] == D("8999999999999999999.999999999999999992")


def test_returns_are_of_the_equity_at_the_start_of_the_day() -> None:
    assert daily_returns([-100, 90, 0], D(1_000)) == [D("-0.1"), D("0.1"), 0]
    for starting in (D(0), D(-1)):
        assert daily_returns([1], starting) is None
    assert daily_returns([-1_000], D(1_000)) == [-1]
    assert daily_returns([-1_000, 0], D(1_000)) is None
    assert daily_returns([-1_500, 600], D(1_000)) is None


def test_ratios_by_hand() -> None:
    # Returns 2 %, 0 and 1 %: mean 1 %, deviation 1 %; sqrt(365) = 19.10497317…
    returns = daily_returns([20, 0, D("10.2")], D(1_000))
    assert returns is not None
    assert sharpe_ratio(returns, len(returns)) == D("19.104973")
    assert sortino_ratio(returns, len(returns)) is None
    # Returns -1 % and 3 %: mean 1 %, downside sqrt(0.0001 / 2); sqrt(2) x sqrt(365) = sqrt(730) = 27.01851217…
    returns = daily_returns([-10, D("29.7")], D(1_000))
    assert returns is not None
    assert sortino_ratio(returns, len(returns)) == D("27.018512")
    # Deviation over n - 1: sqrt(2 x 0.02^2) = 0.0282842…; 0.01 / that x sqrt(365) = sqrt(365 / 8) = 6.75462804…
    assert sharpe_ratio(returns, len(returns)) == D("6.754628")


def test_ratios_are_null_where_nothing_can_be_said() -> None:
    for returns in ([], [D("0.1")], [D(0)] * 9):
        assert sharpe_ratio(returns, len(returns)) is None
        assert sortino_ratio(returns, len(returns)) is None
    # Equal returns of a third: what differs in the 60th digit is no deviation.
    equal = daily_returns([D(1), D(4) / 3, D(16) / 9], D(3))
    assert equal is not None
    assert sharpe_ratio(equal, len(equal)) is None
    assert sortino_ratio([D("-0.5")], 2) is not None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(st.just(0), st.integers(-5_000, 5_000)), max_size=60).map(lambda n: [D(x) / 100 for x in n]),
    st.integers(1, 100_000).map(lambda n: D(n) / 10),
)
def test_the_figures_agree_with_numpy(nets: list[Decimal], starting: Decimal) -> None:
    equity = equity_curve(nets, starting)
    levels = np.concatenate([[float(starting)], float(starting) + np.cumsum([float(net) for net in nets])])
    peaks = np.maximum.accumulate(levels)
    np.testing.assert_allclose([float(value) for value in equity], levels[1:], rtol=1e-9, atol=1e-9)
    fall, relative = deepest_fall(equity, starting), deepest_relative_fall(equity, starting)
    assert float(fall.amount if fall else 0) == pytest.approx((peaks - levels).max(), abs=1e-6)
    assert float(relative.percent or 0 if relative else 0) == pytest.approx(
        (100 * (peaks - levels) / peaks).max(), abs=2e-6
    )
    for found in (fall, relative):
        assert found is None or consistent(found, equity, starting)
    returns = daily_returns(nets, starting)
    assert (returns is None) == bool((levels[:-1] <= 1e-9).any())
    if returns is None or len(returns) < 2:
        return
    expected = np.array([float(net) for net in nets]) / levels[:-1]
    np.testing.assert_allclose([float(r) for r in returns], expected, rtol=1e-7, atol=1e-12)
    close(sharpe_ratio(returns, len(returns)), *_numpy_ratio(expected, np.std(expected, ddof=1)))
    close(sortino_ratio(returns, len(returns)), *_numpy_ratio(expected, np.sqrt(np.mean(np.minimum(expected, 0) ** 2))))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-3, 3), max_size=30), st.integers(0, 20))
def test_days_without_a_trade_may_be_left_out(nets: list[int], starting: int) -> None:
    traded = [day for day, net in enumerate(nets) if net]
    some = [nets[day] for day in traded]
    equity, of_some = equity_curve(nets, D(starting)), equity_curve(some, D(starting))
    for figure in (deepest_fall, deepest_relative_fall):
        found, of_all = figure(of_some, D(starting)), figure(equity, D(starting))
        assert (found is None) == (of_all is None)
        if found is not None and of_all is not None:
            for name in ("peak", "trough", "recovery"):
                day = getattr(found, name)
                assert getattr(of_all, name) == (None if day is None else traded[day])
            assert (found.amount, found.percent) == (of_all.amount, of_all.percent)
    returns, few = (
        daily_returns(nets, D(starting)),
        daily_returns([*some, 0] if traded[-1:] != [len(nets) - 1] else some, D(starting)),
    )
    if returns is not None:
        assert few is not None
        for ratio in (sharpe_ratio, sortino_ratio):
            assert ratio(few, len(nets)) == ratio(returns, len(nets))


def consistent(fall: Fall, equity: list[Decimal], starting: Decimal) -> bool:
    """Whether the days of a fall say what they mean."""
    at_peak = starting if fall.peak is None else equity[fall.peak]
    between = equity[0 if fall.peak is None else fall.peak + 1 : fall.recovery]
    return (
        at_peak == fall.peak_equity
        and all(value <= at_peak for value in between)
        and all(
            value < at_peak
            for value in between[fall.trough - len(equity[: 0 if fall.peak is None else fall.peak + 1]) :]
        )
        and min(between) == equity[fall.trough] == fall.trough_equity
        and fall.amount == at_peak - fall.trough_equity
        and (fall.recovery is None or equity[fall.recovery] >= at_peak)
    )


def _numpy_ratio(returns: Any, deviation: Any) -> tuple[float, float]:
    mean = float(np.mean(returns))
    return (mean / float(deviation) * float(np.sqrt(365)) if deviation > 0 else float("nan")), float(deviation)


def close(found: Decimal | None, expected: float, deviation: float) -> None:
    """Equal within what floats can say; where they see hardly any deviation, they cannot tell whether there is one."""
    if deviation > 1e-9:
        assert found is not None
        assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_streaks_pass_over_days_without_trades() -> None:
    assert streaks([1, 0, 2, -1, 0, -1, -1, 5], [1, 0, 3, 1, 0, 1, 1, 1]) == Streaks(2, 3)
    assert streaks([1, 0, 2], [1, 1, 1]) == Streaks(1, 0)
    assert streaks([], []) == Streaks(0, 0)


def test_shares() -> None:
    assert rounded_share(1, 3) == D("33.333333")
    assert rounded_share(-1, 8) == D("-12.5")
    assert rounded_share(1, 0) is None
    assert rounded_share(D("0.00000000000000000125"), D("1")) == 0
