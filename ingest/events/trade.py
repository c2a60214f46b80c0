"""`trade` events: closed trades, exact to the last digit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import le
from typing import Annotated, Literal, Self

import msgspec
import polars as pl

from ingest.events.amounts import AmountColumn, results
from ingest.events.envelope import (
    Amount,
    Data,
    Event,
    Instant,
    InvalidEvent,
    Text,
    decimal,
    plain,
    rounded,
    wide,
)
from ingest.events.fields import fields

_CODE = "[A-Z][A-Z0-9]{1,11}"
_is_code = re.compile(_CODE).fullmatch

Currency = Annotated[str, msgspec.Meta(min_length=2, max_length=12, extra_json_schema={"pattern": f"^{_CODE}$"})]
"""A currency's code in capitals: USD, EUR, BTC, USDT. The pattern is no part of the type: matched for each trade it would take
longer than all else of its decoding, and there are few different codes."""

CURRENCY = "a code of 2 to 12 capitals and digits, such as USD"
"""What is expected of one, as errors say it."""

_NULL = msgspec.Raw(b"null")
_ZERO = msgspec.Raw(b"0")


class Trade(Data):
    """One closed trade.

    `quantity` > 0, `entry_price` and `exit_price` >= 0 in `currency` a unit, `fees` in `currency` (negative for a rebate).
    `pnl` is the realized result before fees, in `currency`; where it is absent it is computed once, at acceptance:
    (exit_price - entry_price) x quantity, negated for a sell, rounded half-even to 18 fractional digits.
    Each of the numbers has at most 18 digits before and 18 after the point, given as a JSON number or a decimal string.
    `opened_at` must not lie after `closed_at`; the event's `time` is `closed_at`.
    """

    trade_id: Text
    user_id: Text
    broker: Text
    symbol: Text
    side: Literal["buy", "sell"]
    quantity: Amount
    entry_price: Amount
    exit_price: Amount
    currency: Currency
    opened_at: Instant
    closed_at: Instant
    strategy: Text | None = None
    fees: Amount = msgspec.field(default_factory=lambda: _ZERO)
    pnl: Amount | msgspec.UnsetType = msgspec.UNSET

    def check(self) -> None:
        """Checks the numbers' digits and signs and the order of the times."""
        if not _is_code(self.currency):
            raise InvalidEvent(f"data.currency: expected {CURRENCY}")
        self.quantity = plain("data.quantity", self.quantity)
        self.entry_price = plain("data.entry_price", self.entry_price)
        self.exit_price = plain("data.exit_price", self.exit_price)
        self.fees = plain("data.fees", self.fees)
        if self.pnl == _NULL:
            self.pnl = msgspec.UNSET
        if self.pnl is not msgspec.UNSET:
            self.pnl = plain("data.pnl", self.pnl)
        if decimal(self.quantity) <= 0:
            raise InvalidEvent("data.quantity: expected a number above 0")
        if decimal(self.entry_price) < 0:
            raise InvalidEvent("data.entry_price: expected a number of at least 0")
        if decimal(self.exit_price) < 0:
            raise InvalidEvent("data.exit_price: expected a number of at least 0")
        if self.opened_at > self.closed_at:
            raise InvalidEvent("data.opened_at: lies after data.closed_at")

    @classmethod
    def settle(cls, many: Sequence[Self]) -> bool:
        """Column by column: a tenth of what a look at each number takes."""
        if not many:
            return True
        column = fields(many)
        quantity, entry, exit_ = (AmountColumn(column[name]) for name in ("quantity", "entry_price", "exit_price"))
        pnl = column["pnl"]
        given = [amount for amount in pnl if amount is not msgspec.UNSET]
        if not (
            quantity.is_positive()
            and entry.is_unsigned()
            and exit_.is_unsigned()
            and AmountColumn([*column["fees"], *given]).is_plain()
            and all(map(le, column["opened_at"], column["closed_at"]))
            and all(map(_is_code, set(column["currency"])))
        ):
            return False
        if len(given) == len(pnl):
            return True
        found = None if given else results(quantity, entry, exit_, sells=pl.Series(column["side"]) == "sell")
        try:
            if found is None:
                for trade in many:
                    trade.complete()
            else:
                for trade, amount in zip(many, found, strict=True):
                    trade.pnl = amount
        except InvalidEvent:
            return False
        return True

    def complete(self) -> None:
        """Computes an absent `pnl`."""
        if self.pnl is not msgspec.UNSET:
            return
        context = wide()
        moved = context.subtract(decimal(self.exit_price), decimal(self.entry_price))
        if self.side == "sell":
            moved = context.minus(moved)
        self.pnl = rounded("data.pnl", context.multiply(moved, decimal(self.quantity)))


class TradeEvent(Event, tag="trade"):
    """A CloudEvent of type `trade`."""

    kind = "trade"
    data: Trade
