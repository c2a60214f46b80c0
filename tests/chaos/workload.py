"""What the faults are survived with: events of all kinds, drawn from a seed, and the ways in which senders repeat and garble them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

from tests.samples import AWKWARD, START, Sample, envelope

YEAR = dt.timedelta(days=365)
SPAN_S = 3 * 24 * 3600
"""Events are of three days, so that every grain has buckets that are hit often and some that are hit once."""

SOURCES = ("s-1", "s-2", "t\\N")
ACTIONS = ("view", "view", "view", "like", "dislike", "unlike", "undislike", "share", "complete")


class Workload:
    """The events of one organization: the same seed draws the same ones, whatever happens between.

    Two organizations use the same names: every (type, source, id) is there twice, and each counts for its own.
    """

    def __init__(self, organization: int, seed: int) -> None:
        self.organization = organization
        self._random = Random(f"{seed}/{organization}")
        self._numbers = {"system": 0, "enterprise": 0, "trade": 0, "view": 0}
        self._sequences = {"system": 0, "enterprise": 0, "trade": 0, "view": 0}

    def new(self, count: int) -> list[Sample]:
        """Events that were never drawn before. One in four is of a source that numbers its events."""
        return [self._draw(dt.timedelta(0)) for _ in range(count)]

    def late(self, count: int) -> list[Sample]:
        """New ones that happened a year before all others."""
        return [self._draw(YEAR, numbered=False) for _ in range(count)]

    def repeated(self, accepted: list[Sample], count: int) -> list[Sample]:
        """Events that were accepted before: as they were, with another payload, or with another time. None may count."""
        return [self._changed(self._random.choice(accepted)) for _ in range(count)]

    def garbled(self, count: int) -> list[dict[str, Any]]:
        """Events that must be refused, each in a way of its own."""
        drawn: list[dict[str, Any]] = []
        for _ in range(count):
            event = self._draw(dt.timedelta(0), numbered=False).event
            drawn.append(self._random.choice(GARBLINGS)(event))
        return drawn

    def of_kind(self, kind: str, time: dt.datetime = START) -> dict[str, Any]:
        """The data of an event of a kind, drawn."""
        data: dict[str, Any] = getattr(self, f"_{kind}")(time)
        return data

    def _draw(self, ago: dt.timedelta, *, numbered: bool | None = None) -> Sample:
        random = self._random
        kind = random.choice(("system", "system", "enterprise", "trade", "view", "view"))
        self._numbers[kind] += 1
        time = START - ago + dt.timedelta(microseconds=random.randrange(SPAN_S * 1_000_000))
        data = self.of_kind(kind, time)
        if numbered is None:
            numbered = random.random() < 0.25
        if not numbered:
            source = random.choice(SOURCES)
            return Sample(self.organization, envelope(kind, f"{kind}-{self._numbers[kind]}", data, time, source))
        self._sequences[kind] += random.randint(1, 3)
        sequence = self._sequences[kind]
        event = envelope(kind, f"{kind}-{self._numbers[kind]}", data, time, "numbered/1")
        return Sample(self.organization, event | {"sequence": random.choice((sequence, str(sequence)))})

    def _system(self, _: dt.datetime) -> dict[str, Any]:
        random = self._random
        names = random.sample(("cpu_usage", "memory_usage", "network_latency"), random.randint(1, 3))
        return {
            "host": f"web-{random.randrange(5)}",
            "metrics": {name: random.randrange(10_000) / 100 for name in names},
        }

    def _enterprise(self, _: dt.datetime) -> dict[str, Any]:
        random = self._random
        team = {"team_type": random.choice(("ml", "backend"))} if random.random() < 0.5 else {}
        return {"metrics": {"revenue_generated": Decimal(random.randrange(-(10**12), 10**12)).scaleb(-4)}} | team

    def _trade(self, time: dt.datetime) -> dict[str, Any]:
        random = self._random
        entry = Decimal(random.randrange(1, 10**8)).scaleb(-5)
        return {
            "trade_id": f"t-{self._numbers['trade']}",
            "user_id": random.choice(("ann", "ben", *AWKWARD[2:5])),
            "broker": random.choice(("x", "y")),
            "symbol": random.choice(("EURUSD", "BTC/USD")),
            "side": random.choice(("buy", "sell")),
            "quantity": Decimal(random.randrange(1, 10**6)).scaleb(-3),
            "entry_price": entry,
            "exit_price": entry + Decimal(random.randrange(-1000, 1000)).scaleb(-8),
            "fees": Decimal(random.randrange(0, 1000)).scaleb(-2),
            "currency": "USD",
            "opened_at": (time - dt.timedelta(seconds=random.randrange(86_400))).isoformat(),
            "closed_at": time.isoformat(),
        }

    def _view(self, _: dt.datetime) -> dict[str, Any]:
        random = self._random
        return {
            "video_id": f"v-{random.randrange(20)}",
            "creator_id": f"c-{random.randrange(4)}",
            "user_id": f"u-{random.randrange(200)}",
            "action": random.choice(ACTIONS),
            "watch_ms": random.randrange(60_000),
        }

    def _changed(self, sample: Sample) -> Sample:
        random, event = self._random, sample.event
        # A trade's time is that of its data, so another time is another payload there.
        match random.choice(("same", "payload", "time")):
            case "payload":
                return sample.again(data=self.of_kind(event["type"]))
            case "time":
                return sample.again(time=(START + dt.timedelta(seconds=random.randrange(SPAN_S))).isoformat())
            case _:
                return sample


def _without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda event: {key: value for key, value in event.items() if key != name}


GARBLINGS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (
    _without("id"),
    _without("data"),
    _without("time"),
    lambda event: event | {"type": "weather"},
    lambda event: event | {"data": []},
    lambda event: event | {"data": {"host": "web-1", "metrics": {"cpu_usage": "NaN"}}, "type": "system"},
    lambda event: (
        event | {"time": "1999-12-31T23:59:59Z", "data": {"host": "h", "metrics": {"a": 1}}, "type": "system"}
    ),
    lambda event: (
        event | {"time": "2999-01-01T00:00:00Z", "data": {"host": "h", "metrics": {"a": 1}}, "type": "system"}
    ),
    lambda event: event | {"source": "with a nul \x00"},
    lambda event: event | {"sequence": -1},
)
"""Each breaks an event's contract."""
