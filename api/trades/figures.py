"""The figures of closed trades, named as TradeFlow names them, and how several currencies stand side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from api.trades.parameters import Filters, Period, asked_rows, question
from storage.database import AsyncConn
from storage.rollup_query import ask, plain_number


class TradeFigures(msgspec.Struct, rename="camel", kw_only=True):
    """Figures of closed trades. Amounts are in the currency that stands beside them, after fees; `winRate` is in %, of all trades.

    Where several currencies are in it, every amount and the profit factor are null. So is what no trade, or no loss, gives.
    """

    total_trades: int
    winning_trades: int
    losing_trades: int
    win_rate: Any
    profit: Any
    loss: Any
    total_pnl: Any = msgspec.field(name="totalPnL")
    fees: Any
    average_pnl: Any = msgspec.field(name="averagePnL")
    best_trade: Any
    worst_trade: Any
    profit_factor: Any
    average_hold_seconds: Any


_MEASURES = {
    "total_trades": "trades",
    "winning_trades": "wins",
    "losing_trades": "losses",
    "win_rate": "win_rate",
    "profit": "profit",
    "loss": "loss",
    "total_pnl": "net",
    "fees": "fees",
    "average_pnl": "average_net",
    "best_trade": "best",
    "worst_trade": "worst",
    "profit_factor": "profit_factor",
    "average_hold_seconds": "average_hold",
}
"""Each figure's name in the rollup."""

MEASURES = tuple(_MEASURES.values())
_OF_ALL_CURRENCIES = ("trades", "wins", "losses", "average_hold")

SORTS = {field.encode_name: _MEASURES[field.name] for field in msgspec.structs.fields(TradeFigures)}
"""What groups can be sorted by, as it is asked for and as the rollup names it."""


def figures_of(values: Sequence[Any]) -> dict[str, Any]:
    """The fields of a TradeFigures from the values of MEASURES."""
    fields = dict(zip(_MEASURES, values, strict=True))
    fields["win_rate"] = win_rate(fields["winning_trades"], fields["total_trades"])
    return fields


def win_rate(wins: int, trades: int) -> Any:
    """Won trades among all, in per cent to two decimals; null without trades."""
    return plain_number(round(Decimal(100 * wins) / trades, 2)) if trades else None


_BLANK: dict[str, Any] = dict.fromkeys(_MEASURES)
_ZERO: dict[str, Any] = dict.fromkeys(
    ("total_trades", "winning_trades", "losing_trades", "profit", "loss", "total_pnl", "fees"), 0
)
_NO_TRADES = TradeFigures(**_BLANK | _ZERO)


class Totals(msgspec.Struct):
    """Figures of a range: of all of it, and of each currency by its name."""

    total: TradeFigures
    parts: Mapping[str, TradeFigures]

    def currency(self, asked: str | None) -> str | None:
        """The one currency of the amounts; None where there are several, or none but the asked one is known."""
        return next(iter(self.parts)) if len(self.parts) == 1 else None if self.parts else asked

    @property
    def by_currency(self) -> dict[str, TradeFigures] | None:
        """The currencies' figures where there are several."""
        return dict(self.parts) if len(self.parts) > 1 else None


async def totals(connection: AsyncConn, period: Period, filters: Filters) -> Totals:
    """The figures of a range inside a read transaction. Currencies are never added up: of several only counts and times are."""
    rows = await asked_rows(connection, question(period, filters, MEASURES, ("currency",)), "currency: ask for one")
    parts = {currency: TradeFigures(**figures_of(values)) for currency, *values in rows}
    if len(parts) < 2:
        return Totals(next(iter(parts.values()), _NO_TRADES), parts)
    ((trades, wins, losses, hold),) = (await ask(connection, question(period, filters, _OF_ALL_CURRENCIES, ()))).rows
    together = TradeFigures(
        **_BLANK
        | {
            "total_trades": trades,
            "winning_trades": wins,
            "losing_trades": losses,
            "win_rate": win_rate(wins, trades),
            "average_hold_seconds": hold,
        }
    )
    return Totals(together, parts)
