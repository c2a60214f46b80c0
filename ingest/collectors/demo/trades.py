"""The demo's trades: a few people, brokers and strategies on symbols in dollars and euros."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from random import Random
from typing import Literal

import msgspec

from ingest.collectors.demo.wave import Waves
from ingest.events import Trade
from ingest.events.envelope import amount


class Symbol(msgspec.Struct, frozen=True):
    """Something that is traded: its price wanders by about `swing` around `price`, written with `digits` after the point."""

    name: str
    currency: str
    price: float
    swing: float
    digits: int


SYMBOLS = (
    Symbol("AAPL", "USD", 231.0, 0.08, 2),
    Symbol("NVDA", "USD", 142.0, 0.15, 2),
    Symbol("MSFT", "USD", 428.0, 0.07, 2),
    Symbol("BTC/USD", "USD", 91_500.0, 0.16, 2),
    Symbol("EUR/USD", "USD", 1.0842, 0.02, 5),
    Symbol("SAP", "EUR", 226.0, 0.08, 2),
    Symbol("SIE", "EUR", 187.0, 0.07, 2),
    Symbol("DAX", "EUR", 19_350.0, 0.05, 1),
)

USERS = ("demo-ada", "demo-ben", "demo-chiara", "demo-dmitri", "demo-emeka", "demo-fatima", "demo-grace", "demo-hugo")
BROKERS = ("tradelocker", "projectx", "mtx")

STRATEGIES = {"trend-following": 0.6, "mean-reversion": 0.64, "breakout": 0.57, "news": 0.51}
"""How often each strategy is on the right side of the move."""


def trade(number: int, closed: dt.datetime, random: Random, waves: Waves) -> Trade:
    """Returns a trade that closes at a time, complete with its result; `number` makes its id."""
    user = random.choice(USERS)
    symbol = random.choice(SYMBOLS)
    strategy = random.choice(list(STRATEGIES))
    held = dt.timedelta(seconds=round(min(6 * 3_600.0, random.lognormvariate(7.6, 0.9))))
    opened = closed - held
    entry, exit_ = (_price(symbol, moment.timestamp(), waves) for moment in (opened, closed))
    right = random.random() < STRATEGIES[strategy]
    rose = exit_ >= entry
    side: Literal["buy", "sell"] = "buy" if right == rose else "sell"
    notional = random.lognormvariate(8.6, 0.7)
    quantity = max(Decimal("0.01"), Decimal(f"{notional / symbol.price:.2f}"))
    made = Trade(
        trade_id=f"demo-{number}",
        user_id=user,
        # A person keeps to one broker, now and then to a second one.
        broker=BROKERS[(USERS.index(user) + (random.random() < 0.15)) % len(BROKERS)],
        symbol=symbol.name,
        side=side,
        quantity=amount(quantity),
        entry_price=amount(entry),
        exit_price=amount(exit_),
        currency=symbol.currency,
        opened_at=opened,
        closed_at=closed,
        strategy=strategy,
        fees=amount(max(Decimal("0.35"), (quantity * entry * Decimal("0.0002")).quantize(Decimal("0.01")))),
    )
    made.complete()
    return made


def _price(symbol: Symbol, time: float, waves: Waves) -> Decimal:
    value = symbol.price * math.exp(symbol.swing * waves.walk(f"price/{symbol.name}", time))
    return Decimal(f"{value:.{symbol.digits}f}")
