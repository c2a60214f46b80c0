"""The tables of the P&L statement: figures by broker, symbol or strategy, and the trades themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from aggregators.definitions.trade import TRADE_PNL
from jobs.reports.figures import currency_places, digits_behind, placed
from jobs.reports.reading import Source, as_measured
from jobs.reports.report import ReportColumn, ReportTable
from storage.recent_trades import Place, recent_trades
from storage.rollup_query import exact_sum

FIGURES = (
    *("trades", "wins", "losses", "win_rate", "profit", "loss", "net", "fees"),
    *("average_net", "best", "worst", "profit_factor", "average_hold"),
)
MAX_GROUPS = 100
_AT_ONCE = 500


def trade_figures(values: Sequence[Any], currency: str) -> dict[str, Any]:
    """The figures by name. Sums are exact; what was divided is measured: amounts by `average_places`."""
    found = dict(zip(FIGURES, values, strict=True))
    average, hold = found["average_net"], found["average_hold"]
    digits = average_places(found["net"], currency)
    found["win_rate"] = as_measured(found["win_rate"])
    found["average_net"] = None if average is None else placed(Decimal(average), digits)
    found["profit_factor"] = None if found["profit_factor"] is None else placed(Decimal(found["profit_factor"]), 2)
    found["average_hold"] = None if hold is None else round(Decimal(hold))
    return found


def average_places(net: Any, currency: str) -> int:
    """To how many digits a mean is rounded: two more than the currency has, or than the sum where that has more; 18 at most."""
    return min(18, max(currency_places(currency), digits_behind(net)) + 2)


async def by_key(
    source: Source, key: str, title: str, filters: Mapping[str, tuple[str, ...]], currency: str
) -> ReportTable:
    """A row a symbol, strategy or broker, the best first."""
    best = await source.best(TRADE_PNL, FIGURES, (key,), "net", MAX_GROUPS, filters)
    columns = (
        ReportColumn(key, key.capitalize()),
        ReportColumn("trades", "Trades", "count"),
        ReportColumn("win_rate", "Win rate", "percent"),
        ReportColumn("profit_factor", "Profit factor", "number"),
        ReportColumn("fees", "Fees", "money", currency),
        ReportColumn("net", "Net", "money", currency),
        ReportColumn("average_hold", "Average hold", "duration"),
    )
    rows = []
    for name, *values in best.rows:
        found = trade_figures(values, currency)
        rows.append((name or None, *(found[column.name] for column in columns[1:])))
    note = None
    if best.count > len(rows):
        note = f"The {len(rows)} with the greatest net result of {best.count:,}."
    return ReportTable(f"by_{key}", title, columns, rows, note=note)


async def appendix(
    source: Source, filters: Mapping[str, tuple[str, ...]], currency: str, limit: int, trades: int
) -> ReportTable:
    """The latest trades in a currency, as many as asked for."""
    rows: list[tuple[Any, ...]] = []
    place: Place | None = None
    archived = False
    while len(rows) < limit:
        span = source.span
        page = await recent_trades(
            source.connection,
            span.start,
            span.end,
            filters,
            min(_AT_ONCE, limit - len(rows)),
            place,
            archive=source.archive,
        )
        rows += [_trade(row, source) for row in page.rows]
        archived = page.archived
        place = page.next
        if place is None:
            break
    columns = (
        ReportColumn("closed_at", "Closed", "time"),
        ReportColumn("opened_at", "Opened", "time"),
        ReportColumn("trade_id", "Trade"),
        ReportColumn("user_id", "User"),
        ReportColumn("broker", "Broker"),
        ReportColumn("symbol", "Symbol"),
        ReportColumn("strategy", "Strategy"),
        ReportColumn("side", "Side"),
        ReportColumn("quantity", "Quantity", "number"),
        ReportColumn("entry_price", "Entry", "number"),
        ReportColumn("exit_price", "Exit", "number"),
        ReportColumn("fees", "Fees", "money", currency),
        ReportColumn("net", "Net", "money", currency),
    )
    note = f"The latest {len(rows):,} of {trades:,} trades in {currency}." if len(rows) < trades else None
    if archived:
        note = f"{note} Older ones count in the figures, but are no longer kept one by one."
    totals = None
    if rows and len(rows) == trades:
        blank = (None,) * (len(columns) - 3)
        totals = ("Total", *blank, exact_sum(row[-2] for row in rows), exact_sum(row[-1] for row in rows))
    return ReportTable("trades", "Appendix: every trade", columns, rows, totals, note)


def _trade(row: Mapping[str, Any], source: Source) -> tuple[Any, ...]:
    tz = source.span.tz
    return (
        row["time"].astimezone(tz),
        row["opened_at"].astimezone(tz),
        row["trade_id"],
        row["user_id"],
        row["broker"],
        row["symbol"],
        row["strategy"] or None,
        row["side"],
        row["quantity"],
        row["entry_price"],
        row["exit_price"],
        row["fees"],
        exact_sum((row["pnl"], -row["fees"])),
    )
