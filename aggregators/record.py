"""A record of trading days: the equity that their results make, and every statistic that follows from it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from aggregators import statistics
from aggregators.statistics import Fall, Streaks


def days_so_far(days: Sequence[dt.datetime], traded: Iterable[dt.datetime], now: dt.datetime) -> int:
    """How many of a range's days have a result: those up to today, or up to the last with a trade.

    A day that is still to come belongs to the range, and to no statistics.
    """
    last = max([now, *traded])
    return sum(day <= last for day in days)


@dataclass(frozen=True)
class DayRecord:
    """What aggregators.statistics says of a record; falls name days by their place in it."""

    equity: list[Decimal]
    fall: Fall | None
    relative_fall: Fall | None
    sharpe: Decimal | None
    sortino: Decimal | None
    winning_days: int
    losing_days: int
    streaks: Streaks


def day_record(
    nets: Sequence[Decimal | int], trades: Sequence[int], starting: Decimal, *, whole_days: bool
) -> DayRecord:
    """The record of the net results of each day in one currency, from a starting equity; `trades` closed on each.

    Ratios are None where the range has no whole days, and where aggregators.statistics has none.
    """
    equity = statistics.equity_curve(nets, starting)
    returns = statistics.daily_returns(nets, starting)
    days = len(nets) if whole_days else 0
    return DayRecord(
        equity=equity,
        fall=statistics.deepest_fall(equity, starting),
        relative_fall=statistics.deepest_relative_fall(equity, starting),
        sharpe=None if returns is None else statistics.sharpe_ratio(returns, days),
        sortino=None if returns is None else statistics.sortino_ratio(returns, days),
        winning_days=sum(net > 0 for net in nets),
        losing_days=sum(net < 0 for net in nets),
        streaks=statistics.streaks(nets, trades),
    )
