"""Every figure of closed trades computed anew in plain Python, from the events as they were sent."""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from tests.integration.api_service import Api

ROOM = Context(prec=200)


@dataclass(frozen=True)
class Sent:
    """A trade as it was sent."""

    closed: datetime
    held: timedelta
    user_id: str
    broker: str
    symbol: str
    strategy: str | None
    currency: str
    pnl: Decimal
    fees: Decimal

    @property
    def net(self) -> Decimal:
        """The result after fees."""
        return ROOM.subtract(self.pnl, self.fees)

    def event(self, api: Api) -> dict[str, Any]:
        """The event that tells of it."""
        names = {"user_id": self.user_id, "broker": self.broker, "symbol": self.symbol, "currency": self.currency}
        if self.strategy is not None:
            names["strategy"] = self.strategy
        opened = (self.closed - self.held).isoformat()
        return api.trade(self.closed, format(self.pnl, "f"), fees=format(self.fees, "f"), opened_at=opened, **names)


def random_trades(seed: int, first: datetime, days: int, number: int) -> list[Sent]:
    """Trades of two currencies at random moments, some of them at a quarter's or a day's very edge; half of the days have none."""
    rng = random.Random(seed)
    busy = [day for day in range(days) if rng.random() < 0.5] or [0]
    found = []
    for _ in range(number):
        closed = first + timedelta(days=rng.choice(busy), seconds=rng.choice([0, 900, 86_399, rng.randrange(86_400)]))
        if rng.random() < 0.2:
            closed += timedelta(microseconds=rng.choice([1, 999_999]))
        digits = rng.choice([2, 8, 18])
        found.append(
            Sent(
                closed,
                timedelta(seconds=rng.randrange(200_000), microseconds=rng.randrange(1_000_000)),
                rng.choice(["ann", "bob", "cy"]),
                rng.choice(["tradelocker", "mtx"]),
                rng.choice(["EURUSD", "BTC/USD", "XAU"]),
                rng.choice([None, "swing", "scalp"]),
                rng.choice(["USD", "USD", "BTC"]),
                Decimal(rng.randrange(-(10 ** (digits + 2)), 10 ** (digits + 2))).scaleb(-digits),
                Decimal(rng.choice([0, 35, -5])).scaleb(-2),
            )
        )
    return found


def figures(trades: Sequence[Sent]) -> dict[str, Any]:
    """The figures of some trades of one currency, in TradeFlow's names."""
    nets = [one.net for one in trades]
    wins, losses = [net for net in nets if net > 0], [net for net in nets if net < 0]
    profit, loss = total(wins), ROOM.minus(total(losses))
    count = len(trades)
    return {
        "totalTrades": count,
        "winningTrades": len(wins),
        "losingTrades": len(losses),
        "winRate": round(Decimal(100 * len(wins)) / count, 2) if count else None,
        "profit": profit,
        "loss": loss,
        "totalPnL": total(nets),
        "fees": total(one.fees for one in trades),
        "averagePnL": divided(total(nets), count, 18),
        "bestTrade": max(nets, default=None),
        "worstTrade": min(nets, default=None),
        "profitFactor": divided(profit, loss, 6),
        "averageHoldSeconds": divided(
            total(Decimal(one.held // timedelta(microseconds=1)).scaleb(-6) for one in trades), count, 6
        ),
    }


def total(values: Iterable[Decimal]) -> Decimal:
    """The sum to the last digit."""
    found = Decimal(0)
    for value in values:
        found = ROOM.add(found, value)
    return found


def divided(part: Decimal, whole: Any, places: int) -> Decimal | None:
    """A quotient as the database rounds it: half away from zero."""
    if not whole:
        return None
    return ROOM.divide(part, Decimal(whole)).quantize(Decimal(1).scaleb(-places), "ROUND_HALF_UP", ROOM)


def of_day(trades: Iterable[Sent], tz: ZoneInfo) -> dict[date, list[Sent]]:
    """Trades by their local date."""
    found: dict[date, list[Sent]] = defaultdict(list)
    for one in trades:
        found[one.closed.astimezone(tz).date()].append(one)
    return found


def within(trades: Iterable[Sent], first: date, last: date, tz: ZoneInfo, **wanted: str) -> list[Sent]:
    """The trades of some local days, with these values."""
    return [
        one
        for one in trades
        if first <= one.closed.astimezone(tz).date() <= last
        and all((getattr(one, key) or "") == value for key, value in wanted.items())
    ]


def days_between(first: date, last: date) -> list[date]:
    """Every date of a range, both ends in it."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def deepest(levels: Sequence[Decimal], depth: Callable[[Decimal, Decimal], Any]) -> Any:
    """The largest fall between any two levels of which the second comes later."""
    return max(
        (depth(high, low) for n, high in enumerate(levels) for low in levels[n + 1 :] if low < high), default=None
    )


def ratios(levels: Sequence[Decimal]) -> tuple[float | None, float | None]:
    """Sharpe and Sortino ratio in floats, of the levels of equity at the ends of days, the first of which is before them."""
    if any(level <= 0 for level in levels[:-1]) or len(levels) < 3:
        return None, None
    returns = [float(ROOM.divide(b, a)) - 1 for a, b in itertools.pairwise(levels)]
    mean = sum(returns) / len(returns)
    spread = math.sqrt(sum((r - mean) ** 2 for r in returns) / (len(returns) - 1))
    down = math.sqrt(sum(r * r for r in returns if r < 0) / len(returns))
    year = math.sqrt(365)
    return (mean / spread * year if spread > 1e-12 else None), (mean / down * year if down > 1e-12 else None)
