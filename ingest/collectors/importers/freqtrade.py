"""`--as freqtrade`: the trades of a freqtrade backtest or bot, as CSV, to `trade` events."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from ingest.collectors.importers.mapping import Column, Constant, Origin
from ingest.collectors.importers.row import BadRow, Job, Row
from ingest.collectors.importers.shape import Shape
from ingest.collectors.importers.table import TableImporter
from ingest.events import InvalidEvent
from ingest.events.envelope import FRACTION_DIGITS, rounded

_SIDES = {"long": "buy", "short": "sell"}
_MONEY = ("quantity", "entry_price", "exit_price", "fees", "pnl")
_QUOTE = "quote"


class FreqtradeImporter(TableImporter):
    """One closed trade a row. `profit_abs` is the result after fees, so it is taken as `pnl` with `fees` of 0.

    The currency is the pair's quote (`BTC` of `ETH/BTC`), the user and the broker are `freqtrade` unless mapped. freqtrade
    computes in binary floating point and writes up to 21 digits after the point: a number with more than the 18 that are kept is
    rounded half-even, and the summary says how many rows that touched. All other digits are kept as they stand.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(msgspec.structs.replace(job, kind="trade"))

    def defaults(self) -> Mapping[str, Origin]:
        """Names freqtrade's columns."""
        return {
            "user_id": Constant("freqtrade"),
            "broker": Constant("freqtrade"),
            "symbol": Column("pair"),
            "side": Column("side"),
            "quantity": Column("amount"),
            "entry_price": Column("open_rate"),
            "exit_price": Column("close_rate"),
            "opened_at": Column("open_date"),
            "closed_at": Column("close_date"),
            "pnl": Column("profit_abs"),
            "fees": Constant("0"),
            "currency": Column(_QUOTE),
        }

    def shape(self, columns: Collection[str]) -> Shape:
        """Adds the quote currency to the columns, which the pair implies."""
        return super().shape([*columns, _QUOTE] if "pair" in columns else columns)

    def named(self, row: dict[str, str]) -> Mapping[str, str]:
        """Splits the pair and turns long and short into buy and sell."""
        _, slash, quote = row.get("pair", "").partition("/")
        if slash:
            row[_QUOTE] = quote.partition(":")[0].upper()
        side = row.get("side", "").strip().lower()
        row["side"] = _SIDES.get(side, side)
        return row

    def event(self, row: Row) -> dict[str, Any]:
        """Builds the trade and rounds what has too many digits."""
        event = super().event(row)
        data = event["data"]
        for name in _MONEY:
            number = Decimal(data[name]) if name in data else Decimal(0)
            if number and -_exponent(number.normalize()) > FRACTION_DIGITS:
                try:
                    data[name] = bytes(rounded(name, number)).decode()
                except InvalidEvent as error:
                    raise BadRow(str(error)) from None
                self.notes[f"{name} rounded to {FRACTION_DIGITS} digits after the point"] += 1
        return event


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int), "the number is finite"
    return exponent
