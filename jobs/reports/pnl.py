"""The P&L statement: a section for each currency, with the equity of its days and every statistic; amounts exact, never added up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from aggregators.definitions.trade import TRADE_PNL
from aggregators.record import DayRecord, day_record
from aggregators.statistics import rounded_share
from jobs.reports.figures import with_unit
from jobs.reports.parameters import BadParameters, ReportParameters
from jobs.reports.pnl_tables import FIGURES, appendix, average_places, by_key, trade_figures
from jobs.reports.reading import Source, as_measured
from jobs.reports.recommendations import beyond_limit, most_urgent_first
from jobs.reports.report import Chart, Kpi, Recommendation, ReportColumn, ReportTable, Section, Series
from jobs.reports.sections import Made
from storage.rollup_query import exact_sum

MAX_CURRENCIES = 12
_KEYS = {"symbol": "By symbol", "strategy": "By strategy", "broker": "By broker"}
_DAILY = ("trades", "profit", "loss", "fees", "net")
_DRAWN = 15


async def pnl_statement(source: Source, parameters: ReportParameters) -> Made:
    """Reads and builds it. Raises BadParameters."""
    totals = await source.rows(TRADE_PNL, FIGURES, ("currency",), filters=parameters.filters)
    if len(totals) > MAX_CURRENCIES:
        raise BadParameters("filters", f"{len(totals)} currencies, at most {MAX_CURRENCIES} are shown: ask for one")
    daily: dict[str, dict[dt.datetime, list[Any]]] = {}
    for time, currency, *values in await source.rows(
        TRADE_PNL, _DAILY, ("currency",), grain="1d", filters=parameters.filters
    ):
        daily.setdefault(currency, {})[time] = values
    shares = fair_shares(parameters.appendix, [row[1] for row in totals])
    sections: list[Section] = []
    advice: list[Recommendation] = []
    for (currency, *values), room in zip(totals, shares, strict=True):
        section, found = await _currency(source, parameters, currency, values, daily.get(currency, {}), room)
        sections.append(section)
        advice += found
    filters = [f"{key} is {' or '.join(map(repr, allowed))}" for key, allowed in sorted(parameters.filters.items())]
    notes = [
        "Amounts are exact and after fees where they are called net. Different currencies are never added up.",
        "Equity, drawdown and ratios start from the stated equity of the currency, from 0 where none is stated: then there are no"
        " per cents and no ratios. Sharpe and Sortino are by day, over all days up to today, times √365; docs/trades.md has the formulas.",
    ]
    if filters:
        notes.insert(0, f"Only trades of which {', and '.join(filters)}.")
    return Made("P&L statement", _summary(totals), tuple(sections), most_urgent_first(advice), tuple(notes))


def fair_shares(room: int, wanted: Sequence[int]) -> list[int]:
    """What each gets of a room: all that it wants, or as much as any other, give or take one."""
    shares = [0] * len(wanted)
    least_first = sorted(range(len(wanted)), key=lambda at: (wanted[at], -at))
    for done, at in enumerate(least_first):
        shares[at] = min(wanted[at], room // (len(wanted) - done))
        room -= shares[at]
    return shares


def _summary(totals: list[list[Any]]) -> str:
    if not totals:
        return "No trade closed in this period."
    trades = sum(row[1] for row in totals)
    place = 1 + FIGURES.index("net")
    nets = ", ".join(with_unit("money", row[place], row[0]) for row in totals)
    return f"{trades:,} trade{'s' if trades != 1 else ''} closed in this period. Net result: {nets}."


async def _currency(
    source: Source,
    parameters: ReportParameters,
    currency: str,
    values: list[Any],
    found: dict[dt.datetime, list[Any]],
    room: int,
) -> tuple[Section, list[Recommendation]]:
    """The section of a currency, with at most `room` trades in its appendix, and what the rules say of it."""
    days = sorted({*source.span.days(), *found})
    nothing = [0] * len(_DAILY)
    rows = [found.get(day, nothing) for day in days]
    dates = tuple(source.span.date(day) for day in days)
    nets = [row[-1] for row in rows]
    starting = Decimal(parameters.starting_equity.get(currency, 0))
    record = day_record(nets, [row[0] for row in rows], starting, whole_days=True)
    total = trade_figures(values, currency)
    filters = {**parameters.filters, "currency": (currency,)}
    tables = [await by_key(source, key, title, filters, currency) for key, title in _KEYS.items()]
    listed = await appendix(source, filters, currency, room, total["trades"]) if parameters.appendix else None
    symbols = tables[0]
    net_at = [column.name for column in symbols.columns].index("net")
    named = sorted(symbols.rows, key=lambda row: abs(_amount(row[net_at])), reverse=True)[:_DRAWN]
    named.sort(key=lambda row: _amount(row[net_at]), reverse=True)
    charts = (
        Chart(
            "equity",
            "Equity at the end of each day",
            "area",
            dates,
            (Series("Equity", tuple(record.equity)),),
            currency,
        ),
        Chart("net", "Net result by day", "columns", dates, (Series("Net", tuple(nets)),), currency),
        Chart(
            "symbols",
            "Net result by symbol"
            if len(symbols.rows) <= _DRAWN
            else f"Net result of the {_DRAWN} symbols that moved most",
            "bars",
            tuple(str(row[0] or "–") for row in named),
            (Series("Net", tuple(_amount(row[net_at]) for row in named)),),
            currency,
        ),
    )
    section = Section(
        currency,
        currency,
        _kpis(total, record, currency, starting),
        charts,
        (_by_day(dates, rows, record, currency), *tables, *([listed] if listed is not None else [])),
    )
    return section, _advice(total, record, symbols, net_at, currency)


def _amount(value: Any) -> Decimal:
    return Decimal(value) if value is not None else Decimal(0)


def _kpis(total: dict[str, Any], record: DayRecord, currency: str, starting: Decimal) -> tuple[Kpi, ...]:
    fall, relative = record.fall, record.relative_fall
    share = None if fall is None or fall.percent is None else f"{as_measured(fall.percent)} % of its peak"

    def money(name: str, title: str, value: Any, note: str | None = None) -> Kpi:
        return Kpi(name, title, value, "money", currency, note)

    return (
        money("net", "Net result", total["net"], "after fees"),
        Kpi(
            "trades",
            "Closed trades",
            total["trades"],
            "count",
            None,
            f"{total['wins']:,} won, {total['losses']:,} lost",
        ),
        Kpi("win_rate", "Win rate", total["win_rate"], "percent", None, "of all trades"),
        Kpi("profit_factor", "Profit factor", total["profit_factor"], "number", None, "profit / loss"),
        money("profit", "Profit", total["profit"], "of the trades won"),
        money("loss", "Loss", total["loss"], "of the trades lost"),
        money("fees", "Fees", total["fees"]),
        money(
            "average_net",
            "Net result a trade",
            total["average_net"],
            f"to {average_places(total['net'], currency)} places",
        ),
        money("best", "Best trade", total["best"]),
        money("worst", "Worst trade", total["worst"]),
        money("drawdown", "Deepest drawdown", None if fall is None else fall.amount, share),
        Kpi(
            "relative_drawdown",
            "Deepest relative drawdown",
            None if relative is None else as_measured(relative.percent),
            "percent",
        ),
        money("starting_equity", "Starting equity", starting, "as stated" if starting else "none stated"),
        Kpi("sharpe", "Sharpe ratio", as_measured(record.sharpe), "number", None, "annualized"),
        Kpi("sortino", "Sortino ratio", as_measured(record.sortino), "number", None, "annualized"),
        Kpi("average_hold", "Average hold", total["average_hold"], "duration", None, "h:mm:ss"),
    )


def _by_day(dates: tuple[dt.date, ...], rows: list[list[Any]], record: DayRecord, currency: str) -> ReportTable:
    """The days with trades; equity stands still on the others."""
    columns = (
        ReportColumn("day", "Day", "date"),
        ReportColumn("trades", "Trades", "count"),
        *(ReportColumn(name, name.capitalize(), "money", currency) for name in (*_DAILY[1:], "equity")),
    )
    listed = [(date, *row, equity) for date, row, equity in zip(dates, rows, record.equity, strict=True) if row[0]]
    totals = tuple(exact_sum(row[place] for row in rows) for place in range(len(_DAILY)))
    end = record.equity[-1] if record.equity else None
    note = "Days without a trade are left out." if len(listed) < len(dates) else None
    return ReportTable("by_day", "By day", columns, listed, ("Total", *totals, end) if listed else None, note)


def _advice(
    total: dict[str, Any], record: DayRecord, symbols: ReportTable, net_at: int, currency: str
) -> list[Recommendation]:
    found: list[Recommendation] = []
    relative = record.relative_fall
    if relative is not None:
        found += beyond_limit(
            "drawdown", "Deepest relative drawdown", as_measured(relative.percent), "percent", subject=currency
        )
    if total["trades"] >= 10:
        found += beyond_limit("profit_factor", "Profit factor", total["profit_factor"], "number", subject=currency)
    if total["profit"]:
        share = as_measured(rounded_share(total["fees"], total["profit"]))
        found += beyond_limit("fees", "Fees in per cent of profit", share, "percent", subject=currency)
    found += beyond_limit("losing_streak", "Losing days in a row", record.streaks.losing, "count", subject=currency)
    losers = [row for row in symbols.rows if _amount(row[net_at]) < 0]
    if len(losers) >= 3:
        lost = exact_sum(_amount(row[net_at]) for row in losers)
        worst = min(losers, key=lambda row: _amount(row[net_at]))
        share = as_measured(rounded_share(_amount(worst[net_at]), lost))
        found += beyond_limit(
            "loss_concentration", f"Share of {currency} losses", share, "percent", subject=str(worst[0] or "no symbol")
        )
    return found
