"""`trade` events: closed trades, exact to the last digit."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from ingest.events.envelope import Data, Event, Instant, InvalidEvent, Text, exact, rounded, wide

Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9]{1,11}$(?!\n)")]
"""A currency's code in capitals: USD, EUR, BTC, USDT. (Python's `$` also matches before a line's end, hence the rest.)"""


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
    quantity: Decimal
    entry_price: Decimal
    exit_price: Decimal
    currency: Currency
    opened_at: Instant
    closed_at: Instant
    strategy: Text | None = None
    fees: Decimal = Decimal(0)
    pnl: Decimal | None = None

    def complete(self) -> None:
        """Checks the numbers' digits and the order of the times, and computes an absent `pnl`."""
        self.quantity = exact("data.quantity", self.quantity)
        self.entry_price = exact("data.entry_price", self.entry_price)
        self.exit_price = exact("data.exit_price", self.exit_price)
        self.fees = exact("data.fees", self.fees)
        if self.quantity <= 0:
            raise InvalidEvent("data.quantity: expected a number above 0")
        if self.entry_price < 0:
            raise InvalidEvent("data.entry_price: expected a number of at least 0")
        if self.exit_price < 0:
            raise InvalidEvent("data.exit_price: expected a number of at least 0")
        if self.opened_at > self.closed_at:
            raise InvalidEvent("data.opened_at: lies after data.closed_at")
        if self.pnl is not None:
            self.pnl = exact("data.pnl", self.pnl)
            return
        context = wide()
        moved = context.subtract(self.exit_price, self.entry_price)
        if self.side == "sell":
            moved = context.minus(moved)
        self.pnl = rounded("data.pnl", context.multiply(moved, self.quantity))


class TradeEvent(Event, tag="trade"):
    """A CloudEvent of type `trade`."""

    kind = "trade"
    data: Trade
