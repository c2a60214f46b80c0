"""The report of profit and loss: its shape, and how the rows of days become it. Currencies stand side by side, never added up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from aggregators import calendar
from aggregators.record import day_record, days_so_far
from api.trades.equity import Drawdown, drawdown, starting_equity
from api.trades.figures import Totals, TradeFigures
from api.trades.parameters import Period, local_date
from storage.rollup_query import exact_sum, plain_number

AMOUNTS = ("profit", "loss", "net")


class DailyPnl(msgspec.Struct):
    """One local day. Amounts are in the report's one currency; null where there are several."""

    date: str
    profit: Any
    loss: Any
    net: Any
    trades: int


class TotalPnl(msgspec.Struct):
    """The whole range."""

    profit: Any
    loss: Any
    net: Any
    trades: int


class Equity(msgspec.Struct):
    """Equity at the end of a day, in the currency."""

    date: str
    equity: Any


class PnlStatistics(msgspec.Struct):
    """Figures of a range in one currency. Ratios are by day, annualized with sqrt(365); docs/trades.md has every formula."""

    profit_factor: Any
    expectancy: Any
    sharpe: Any
    sortino: Any
    average_hold_seconds: Any
    win_rate: Any
    wins: int
    losses: int
    best: Any
    worst: Any
    fees: Any
    days: int
    winning_days: int
    losing_days: int
    longest_winning_streak_days: int
    longest_losing_streak_days: int


class CurrencyPnl(msgspec.Struct):
    """One currency's part of a report."""

    daily: list[DailyPnl]
    total: TotalPnl
    starting_equity: Any
    equity: list[Equity]
    drawdown: Drawdown | None
    relative_drawdown: Drawdown | None
    statistics: PnlStatistics


class PnlReport(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Every day of the range. `currency` is the one of all amounts; null where there are several, told apart in `by_currency`.

    `equity` ends with today. `drawdown` is the deepest by amount, `relative_drawdown` the deepest in per cent.
    """

    daily: list[DailyPnl]
    total: TotalPnl | None
    starting_equity: Any
    equity: list[Equity] | None
    drawdown: Drawdown | None
    relative_drawdown: Drawdown | None
    statistics: PnlStatistics | None
    as_of: dt.datetime
    tz: str
    currency: str | None
    by_currency: dict[str, CurrencyPnl] | None = None


def pnl_report(
    rows: list[list[Any]],
    found: Totals,
    period: Period,
    stated: Mapping[str, Decimal],
    asked_currency: str | None,
    *,
    now: dt.datetime,
    as_of: dt.datetime,
) -> PnlReport:
    """Shapes rows of (time, currency, profit, loss, net, trades); every day of the period is in it."""
    days = list(calendar.buckets(period.start, period.end, "1d", period.tz))
    daily: dict[str, dict[dt.datetime, list[Any]]] = {}
    for time, currency, *amounts in rows:
        daily.setdefault(currency, {})[time.astimezone(dt.UTC)] = amounts
    past = days_so_far(days, (max(one) for one in daily.values()), now)
    alone = len(daily) < 2
    parts = {
        currency: _currency(
            days,
            daily[currency],
            found.parts[currency],
            starting_equity(stated, currency, alone=alone),
            period,
            past,
        )
        for currency in sorted(daily)
    }
    if not alone:
        trades = [sum(part.daily[number].trades for part in parts.values()) for number in range(len(days))]
        blank = [
            DailyPnl(local_date(day, period.tz), None, None, None, count)
            for day, count in zip(days, trades, strict=True)
        ]
        return PnlReport(
            daily=blank,
            total=None,
            starting_equity=None,
            equity=None,
            drawdown=None,
            relative_drawdown=None,
            statistics=None,
            as_of=as_of,
            tz=period.tz.key,
            currency=None,
            by_currency=parts,
        )
    currency = next(iter(parts), asked_currency)
    only = next(iter(parts.values()), None) or _currency(
        days, {}, found.total, starting_equity(stated, currency, alone=True), period, past
    )
    return PnlReport(
        daily=only.daily,
        total=only.total,
        starting_equity=only.starting_equity,
        equity=only.equity,
        drawdown=only.drawdown,
        relative_drawdown=only.relative_drawdown,
        statistics=only.statistics,
        as_of=as_of,
        tz=period.tz.key,
        currency=currency,
    )


def _currency(
    days: list[dt.datetime],
    found: dict[dt.datetime, list[Any]],
    figures: TradeFigures,
    starting: Decimal,
    period: Period,
    past: int,
) -> CurrencyPnl:
    daily = [DailyPnl(local_date(day, period.tz), *(found.get(day) or [0, 0, 0, 0])) for day in days]
    profit, loss, net = (exact_sum(getattr(day, name) for day in daily) for name in AMOUNTS)
    record = daily[:past]
    nets, dates = [day.net for day in record], [day.date for day in record]
    of_days = day_record(nets, [day.trades for day in record], starting, whole_days=period.whole_days)
    return CurrencyPnl(
        daily=daily,
        total=TotalPnl(profit, loss, net, sum(day.trades for day in daily)),
        starting_equity=plain_number(starting),
        equity=[Equity(date, plain_number(value)) for date, value in zip(dates, of_days.equity, strict=True)],
        drawdown=drawdown(of_days.fall, dates),
        relative_drawdown=drawdown(of_days.relative_fall, dates),
        statistics=PnlStatistics(
            profit_factor=figures.profit_factor,
            expectancy=figures.average_pnl,
            sharpe=plain_number(of_days.sharpe),
            sortino=plain_number(of_days.sortino),
            average_hold_seconds=figures.average_hold_seconds,
            win_rate=figures.win_rate,
            wins=figures.winning_trades,
            losses=figures.losing_trades,
            best=figures.best_trade,
            worst=figures.worst_trade,
            fees=figures.fees,
            days=past,
            winning_days=of_days.winning_days,
            losing_days=of_days.losing_days,
            longest_winning_streak_days=of_days.streaks.winning,
            longest_losing_streak_days=of_days.streaks.losing,
        ),
    )
