"""What follows from daily results and a stated starting equity: drawdowns and ratios, in the shapes of the answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from aggregators import statistics
from api.errors import Problem
from api.routing import described
from storage.rollup_query import plain_number

_EQUITY = re.compile(r"(?:([A-Z][A-Z0-9]{1,11}):)?([0-9]{1,18}(?:\.[0-9]{1,18})?)", re.ASCII).fullmatch
_EXPECTED = "starting_equity: expected a decimal of at least 0, or one for each currency such as USD:10000,BTC:0.5"

StartingEquity = Annotated[str, described("10000", "USD:10000,BTC:0.5")]
"""What `starting_equities` reads."""

ALONE = ""
"""Stands for the currency of a starting equity that names none."""


class Drawdown(msgspec.Struct):
    """A fall of equity from its running peak, which is the starting equity before the first day; `amount` is positive.

    `peak_date` is the day that reached the peak, null where that is the starting equity; `recovery_date` the first day back at it, null
    where there is none. `percent` is of `peak_equity`, null without a starting equity.
    """

    amount: Any
    percent: Any
    peak_date: str | None
    trough_date: str
    recovery_date: str | None
    peak_equity: Any
    trough_equity: Any


def starting_equities(text: str | None) -> dict[str, Decimal]:
    """The starting equity of each currency that `10000` (of the one currency there is) or `USD:10000,BTC:0.5` names.

    Raises Problem 400.
    """
    found: dict[str, Decimal] = {}
    for part in text.split(",") if text else ():
        match = _EQUITY(part.strip())
        if match is None:
            raise Problem(400, _EXPECTED, parameter="starting_equity")
        currency = match[1] or ALONE
        if currency in found or (found and ALONE in (currency, *found)):
            raise Problem(400, f"{_EXPECTED}; one a currency", parameter="starting_equity")
        found[currency] = Decimal(match[2])
    return found


def starting_equity(stated: Mapping[str, Decimal], currency: str | None, *, alone: bool) -> Decimal:
    """The starting equity in a currency. One that names no currency is meant where there is only one; what is not stated is 0."""
    of_any = stated.get(ALONE, Decimal(0)) if alone else Decimal(0)
    return stated.get(currency, of_any) if currency is not None else of_any


def drawdown(fall: statistics.Fall | None, dates: Sequence[str]) -> Drawdown | None:
    """A fall with the dates of its days; null where equity never fell."""
    if fall is None:
        return None
    return Drawdown(
        amount=plain_number(fall.amount),
        percent=plain_number(fall.percent),
        peak_date=None if fall.peak is None else dates[fall.peak],
        trough_date=dates[fall.trough],
        recovery_date=None if fall.recovery is None else dates[fall.recovery],
        peak_equity=plain_number(fall.peak_equity),
        trough_equity=plain_number(fall.trough_equity),
    )


class Ratios(msgspec.Struct):
    """Sharpe and Sortino ratio by day; null without a starting equity, without two whole days, and where they are not defined."""

    sharpe: Any
    sortino: Any


def ratios(nets: Sequence[Decimal | int], starting: Decimal, *, days: int) -> Ratios:
    """The ratios of a record of so many days, of which those without a trade may be left out but not the last."""
    returns = statistics.daily_returns(nets, starting)
    if returns is None:
        return Ratios(None, None)
    sharpe, sortino = statistics.sharpe_ratio(returns, days), statistics.sortino_ratio(returns, days)
    return Ratios(plain_number(sharpe), plain_number(sortino))
