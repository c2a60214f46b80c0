"""Simulated events for the benchmarks, the same in every run: hosts that report once a second, and people who trade."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from itertools import accumulate
from random import Random
from typing import Any

import msgspec

START = dt.datetime(2026, 1, 5, 10, tzinfo=dt.UTC)
BATCH = 1_000
"""Events in one request."""

HOSTS = 100
USERS = 500
SYMBOLS = 50
_METRICS = {
    "cpu_usage": (45, 15, 0, 100),
    "memory_usage": (60, 8, 0, 100),
    "disk_usage": (70, 2, 0, 100),
    "system_load": (35, 12, 0, 100),
    "network_latency": (12, 4, 0.1, 1_000),
    "active_connections": (400, 60, 0, 10_000),
    "response_time": (80, 25, 1, 10_000),
    "error_rate": (0.8, 0.4, 0, 100),
}
"""Mean, deviation, least and greatest value."""


def _envelope(kind: str, number: int, random: Random, source: str, time: dt.datetime, data: Any) -> dict[str, Any]:
    name = f"{number:08d}-{random.getrandbits(64):016x}"
    return {"specversion": "1.0", "id": name, "source": source, "type": kind, "time": time, "data": data}


def system(first: int, count: int) -> Iterator[dict[str, Any]]:
    """Measurements of 8 metrics of 100 hosts, each host once a second."""
    random = Random(first)
    for number in range(first, first + count):
        host = f"web-{number % HOSTS}"
        metrics = {
            name: round(min(most, max(least, random.gauss(mean, deviation))), 2)
            for name, (mean, deviation, least, most) in _METRICS.items()
        }
        time = START + dt.timedelta(milliseconds=number * 1_000 // HOSTS)
        yield _envelope("system", number, random, f"host/{host}", time, {"host": host, "metrics": metrics})


def _zipf(count: int) -> list[float]:
    """Cumulative weights in which the n-th has 1/n of the first: a few are busy, most are not."""
    return list(accumulate(1 / rank for rank in range(1, count + 1)))


def trade(first: int, count: int, *, uniform: bool = False) -> Iterator[dict[str, Any]]:
    """Trades of 500 users in 50 symbols, 50 a second; a user keeps to one broker account and one strategy.

    Users and symbols are as unequally busy as people and markets are (Zipf); with `uniform` all 25,000 pairs are equally
    likely, the worst case for a rollup by user and symbol.
    """
    random = Random(first)
    users, symbols = range(USERS), range(SYMBOLS)
    of_user, of_symbol = (None, None) if uniform else (_zipf(USERS), _zipf(SYMBOLS))
    picked_users = random.choices(users, cum_weights=of_user, k=count)
    picked_symbols = random.choices(symbols, cum_weights=of_symbol, k=count)
    for number, user, symbol in zip(range(first, first + count), picked_users, picked_symbols, strict=True):
        closed = START + dt.timedelta(milliseconds=20 * number)
        price = round(random.uniform(10, 60_000), 2)
        data = {
            "trade_id": f"t-{number}",
            "user_id": f"user-{user}",
            "broker": "alpaca",
            "symbol": f"SYM{symbol}",
            "strategy": ("momentum", "mean-reversion", "breakout")[user % 3],
            "side": random.choice(("buy", "sell")),
            "quantity": round(random.uniform(0.01, 10), 4),
            "entry_price": price,
            "exit_price": round(price * random.uniform(0.97, 1.03), 2),
            "fees": round(random.uniform(0, 2), 2),
            "currency": "USD",
            "opened_at": closed - dt.timedelta(minutes=3),
            "closed_at": closed,
        }
        yield _envelope("trade", number, random, f"broker/alpaca/{user}", closed, data)


def bodies(events: Iterator[dict[str, Any]]) -> list[bytes]:
    """The events as request bodies of 1,000 each."""
    encoder = msgspec.json.Encoder()
    found: list[bytes] = []
    batch: list[dict[str, Any]] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH:
            found.append(encoder.encode(batch))
            batch.clear()
    if batch:
        found.append(encoder.encode(batch))
    return found
