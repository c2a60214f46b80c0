"""Statistics of a record of daily results: equity, drawdown, Sharpe and Sortino ratio, streaks. Exact decimals in, decimals out.

A record is the net result of each calendar day of a range, in one currency: days without a trade as 0, or left out. Equity is exact to
the last digit. What takes a division or a root is computed with 60 digits and rounded half-even to `PLACES`; no binary float takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from itertools import accumulate

PLACES = 6
"""Digits behind the point of percentages and ratios."""

DAYS_A_YEAR = 365
"""What ratios by day are annualized with, as sqrt(365): trades close on any day of the calendar, so every day of a range counts."""

_EXACT = Context(prec=1_000)
_DIVIDED = Context(prec=60)
_ROUNDING_ONLY = Decimal("1E-25")
"""A deviation that is smaller than this part of the mean comes from the 60th digit of equal returns, not from the returns."""


def equity_curve(nets: Sequence[Decimal | int], starting: Decimal) -> list[Decimal]:
    """Equity at the end of each day, in the currency: `starting` and the nets up to then. Exact."""
    return list(accumulate((Decimal(net) for net in nets), _EXACT.add, initial=starting))[1:]


@dataclass(frozen=True)
class Fall:
    """A drawdown. `peak` is the day that reached the peak, None where that is the starting equity; `recovery` the first day back at it.

    Days are places in the record. Amounts are in its currency; `percent` is of `peak_equity`, None where that is not above 0.
    """

    amount: Decimal
    percent: Decimal | None
    peak: int | None
    trough: int
    recovery: int | None
    peak_equity: Decimal
    trough_equity: Decimal


def deepest_fall(equity: Sequence[Decimal], starting: Decimal) -> Fall | None:
    """The maximum drawdown by amount: max over days t of (M(t) - E(t)), M(t) the running peak. None where equity never fell.

    The peak is `starting` before the first day, so a loss on the first day is a drawdown (where libraries begin with the first day's
    end, it is lost: pyfolio issue 179, quantstats issue 438, freqtrade pull request 11593). Of equal falls the first counts.
    Source: Magdon-Ismail and Atiya, "Maximum Drawdown", Risk 17(10), 2004.
    """
    return _deepest(equity, starting, lambda amount, _: amount)


def deepest_relative_fall(equity: Sequence[Decimal], starting: Decimal) -> Fall | None:
    """The maximum drawdown in per cent: max over days t of (M(t) - E(t)) / M(t). It need not be the deepest one by amount.

    None where equity never fell, or where `starting` is not above 0: of nothing there are no per cents. Above 100 % where equity
    went below 0. Source: as for `deepest_fall`.
    """
    return _deepest(equity, starting, _DIVIDED.divide) if starting > 0 else None


def _deepest(equity: Sequence[Decimal], starting: Decimal, depth: Callable[[Decimal, Decimal], Decimal]) -> Fall | None:
    top, top_at, before = starting, None, starting
    worst: tuple[Decimal, Decimal, int | None, int] | None = None
    last: tuple[Decimal, Decimal] | None = None
    for day, value in enumerate(equity):
        if value >= top:
            if value != before:  # A day without a trade reaches nothing anew.
                top_at = day
            top = value
        elif (top, value) != last:  # A day without a trade is as deep as the one before.
            last = (top, value)
            found = depth(_EXACT.subtract(top, value), top)
            if worst is None or found > worst[0]:
                worst = (found, top, top_at, day)
        before = value
    if worst is None:
        return None
    _, top, top_at, trough = worst
    amount = _EXACT.subtract(top, equity[trough])
    recovery = next((day for day in range(trough + 1, len(equity)) if equity[day] >= top), None)
    percent = rounded_share(amount, top) if starting > 0 else None
    return Fall(amount, percent, top_at, trough, recovery, top, equity[trough])


def daily_returns(nets: Sequence[Decimal | int], starting: Decimal) -> list[Decimal] | None:
    """Each day's net result over the equity at its start, as a fraction.

    None where `starting` is not above 0, or equity is not above 0 at the start of a later day: such a day has no return.
    """
    if starting <= 0:
        return None
    equity = starting
    returns: list[Decimal] = []
    for net in nets:
        if equity <= 0:
            return None
        returns.append(_DIVIDED.divide(Decimal(net), equity) if net else _NOTHING)
        if net:
            equity = _EXACT.add(equity, Decimal(net))
    return returns


_NOTHING = Decimal(0)


def sharpe_ratio(returns: Sequence[Decimal], days: int) -> Decimal | None:
    """The annualized Sharpe ratio by day: mean(r) / s(r) x sqrt(365); the riskless rate is taken as 0.

    `days` is n, the number of days in the record: those that are not among `returns` returned 0.
    s is the sample's standard deviation, over n - 1. None for fewer than 2 days, and where all returns are equal.
    Source: Sharpe, "The Sharpe Ratio", Journal of Portfolio Management 21(1), 1994 (the historic ratio of its equations 3 to 6).
    """
    if days < 2:
        return None
    mean = _mean(returns, days)
    moved = [_DIVIDED.subtract(r, mean) for r in returns if r]
    idle = days - len(moved)
    squares = _DIVIDED.fma(idle, _DIVIDED.multiply(mean, mean), _sum(_DIVIDED.multiply(m, m) for m in moved))
    deviation = _DIVIDED.sqrt(_DIVIDED.divide(squares, days - 1))
    if deviation <= abs(mean) * _ROUNDING_ONLY:
        return None
    return _annualized(mean, deviation)


def sortino_ratio(returns: Sequence[Decimal], days: int) -> Decimal | None:
    """The annualized Sortino ratio by day: mean(r) / d(r) x sqrt(365); the target return is 0.

    `days` is n, as for `sharpe_ratio`; d is the target downside deviation sqrt(sum(min(r, 0)^2) / n) over all n days, not only over
    those that lost.
    None for fewer than 2 days, and where no day lost.
    Source: Sortino and Price, "Performance Measurement in a Downside Risk Framework", Journal of Investing 3(3), 1994.
    """
    if days < 2:
        return None
    squares = _sum(_DIVIDED.multiply(r, r) for r in returns if r < 0)
    if not squares:
        return None
    return _annualized(_mean(returns, days), _DIVIDED.sqrt(_DIVIDED.divide(squares, days)))


def _sum(values: Iterable[Decimal]) -> Decimal:
    total = _NOTHING
    for value in values:
        total = _DIVIDED.add(total, value)
    return total


def _mean(returns: Sequence[Decimal], days: int) -> Decimal:
    return _DIVIDED.divide(_sum(r for r in returns if r), days)


def _annualized(mean: Decimal, deviation: Decimal) -> Decimal:
    ratio = _DIVIDED.multiply(_DIVIDED.divide(mean, deviation), _DIVIDED.sqrt(DAYS_A_YEAR))
    return _rounded(ratio)


def rounded_share(part: Decimal | int, whole: Decimal | int) -> Decimal | None:
    """`part` in per cent of `whole`; None where that is 0. Negative, or above 100, where the signs or sizes are so."""
    if not whole:
        return None
    return _rounded(_DIVIDED.multiply(100, _DIVIDED.divide(Decimal(part), Decimal(whole))))


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-PLACES), rounding=ROUND_HALF_EVEN, context=_EXACT)


@dataclass(frozen=True)
class Streaks:
    """The most days that won, and that lost, in a row."""

    winning: int
    losing: int


def streaks(nets: Sequence[Decimal | int], trades: Sequence[int]) -> Streaks:
    """Days in a row with a net result above, and below, 0. Days without a trade are passed over; a traded day of exactly 0 ends both."""
    longest, current = [0, 0], [0, 0]
    for net, traded in zip(nets, trades, strict=True):
        if traded:
            current = [current[0] + 1 if net > 0 else 0, current[1] + 1 if net < 0 else 0]
            longest = [max(pair) for pair in zip(longest, current, strict=True)]
    return Streaks(*longest)
