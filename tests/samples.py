"""Events as a sender writes them, drawn by hypothesis, and the ways they reach the sink: split, shuffled, sent again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import groupby, pairwise
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from ingest.events import Event
from ingest.events.decode import Limits, decode
from ingest.log import Batch

NOW = dt.datetime(2026, 3, 31, 12, tzinfo=dt.UTC)
"""The moment at which the tests accept their events."""

START = dt.datetime(2026, 3, 28, 22, tzinfo=dt.UTC)
"""The earliest time of a drawn event; two midnights, and Europe's change of clocks, follow within the drawn range."""

_JSON = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True)
class Sample:
    """One CloudEvent as a sender writes it, and the number of the organization that sends it."""

    organization: int
    event: dict[str, Any]

    def again(self, **changes: Any) -> Sample:
        """The same with other attributes."""
        return replace(self, event=self.event | changes)


def body(samples: Sequence[Sample]) -> bytes:
    """The JSON array of the samples' events."""
    return _JSON.encode([sample.event for sample in samples])


def accepted(samples: Sequence[Sample], *, ahead: dt.timedelta = dt.timedelta(days=3650)) -> list[Event]:
    """The samples through the decoder, which must accept them all."""
    events: list[Event] = []
    for start in range(0, len(samples), 10_000):
        decoded = decode(body(samples[start : start + 10_000]), "application/json", now=NOW, limits=Limits(ahead=ahead))
        assert decoded.rejected == []
        events += decoded.events
    return events


def batches(samples: Sequence[Sample], organizations: Sequence[UUID]) -> list[Batch]:
    """The samples as batches: neighbours of one organization travel together."""
    pairs = zip(samples, accepted(samples), strict=True)
    return [
        Batch(organizations[number], [event for _, event in run])
        for number, run in groupby(pairs, key=lambda pair: pair[0].organization)
    ]


def envelope(
    kind: str, name: str, data: dict[str, Any], time: dt.datetime = START, source: str = "test"
) -> dict[str, Any]:
    """A CloudEvent."""
    return {"specversion": "1.0", "id": name, "source": source, "type": kind, "time": time.isoformat(), "data": data}


def system(name: str, value: float = 1.0, *, host: str = "web-1", organization: int = 0, **changes: Any) -> Sample:
    """A measurement of one host."""
    data = {"host": host, "metrics": {"cpu_usage": value}}
    return Sample(organization, envelope("system", name, data) | changes)


def trade(name: str, pnl: str | None = "1", /, *, organization: int = 0, **fields: Any) -> Sample:
    """A closed trade."""
    data: dict[str, Any] = {
        "trade_id": name,
        "user_id": "ann",
        "broker": "demo",
        "symbol": "BTC/USD",
        "side": "buy",
        "quantity": Decimal(1),
        "entry_price": Decimal(100),
        "exit_price": Decimal(101),
        "currency": "USD",
        "opened_at": (START - dt.timedelta(hours=1)).isoformat(),
        "closed_at": START.isoformat(),
    }
    if pnl is not None:
        data["pnl"] = Decimal(pnl)
    return Sample(organization, envelope("trade", name, data | fields))


def view(name: str, action: str = "view", *, organization: int = 0, time: dt.datetime = START, **fields: Any) -> Sample:
    """What one person did with a video."""
    data = {"video_id": "v1", "creator_id": "c1", "action": action, "user_id": "ann"} | fields
    return Sample(organization, envelope("view", name, data, time))


def enterprise(name: str, value: str = "1", *, organization: int = 0, **fields: Any) -> Sample:
    """A report of one figure."""
    return Sample(
        organization, envelope("enterprise", name, {"metrics": {"revenue_generated": Decimal(value)}} | fields)
    )


# Names that try every layer they pass: CSV, COPY's markers, array literals, JSON, SQL, HTML, several planes of Unicode.
AWKWARD = (
    "a",
    "b",
    "\\N",
    "\\.",
    'q"uo,te',
    "new\nline\r",
    "{NULL}",
    "NULL",
    "'; drop table x; --",
    "<b>&",
    "ß漢\U0001f600\\",
)

_texts = st.sampled_from(AWKWARD)
_times = st.integers(0, 52 * 3600 * 1_000_000).map(lambda us: START + dt.timedelta(microseconds=us)) | st.sampled_from(
    [START + dt.timedelta(minutes=15 * quarter) for quarter in range(16)]
)
_floats = (
    st.floats(-1e18, 1e18, allow_nan=False).map(lambda value: value if abs(value) > 1e-200 else 0.0)
    | st.integers(-10_000, 10_000).map(lambda value: value / 100)
    | st.sampled_from([0.0, -0.0, 0.1, 1e-200, -1e-200, 1e18, -1e18])
)
_money = (
    st.integers(1 - 10**18, 10**18 - 1).map(Decimal)
    | st.decimals(-1_000_000, 1_000_000, places=8)
    | st.integers(1 - 10**36, 10**36 - 1).map(lambda n: Decimal(f"{n}e-18"))
)
_small_money = st.decimals(0, 1_000_000, places=9)


_requests = st.fixed_dictionaries(
    {
        "api.request_time": st.integers(1, 10**7).map(lambda us: us / 1000) | st.sampled_from([0.0, -1.0]),
        "api.requests": st.integers(1, 300) | st.sampled_from([0, 1.5, 1_000_001]),
    },
    optional={"api.errors": st.integers(0, 3) | st.sampled_from([0.5, -1]), "uptime": st.just(1.0)},
)


def answered(name: str, host: str, ms: float, requests: int, errors: int = 0, *, organization: int = 0) -> Sample:
    """Requests that a process answered: `host` is the process, a method and a route."""
    metrics = {"api.request_time": ms, "api.requests": requests, "api.errors": errors}
    return Sample(organization, envelope("system", name, {"host": host, "metrics": metrics}))


@st.composite
def _data(draw: st.DrawFn, kind: str, time: dt.datetime) -> dict[str, Any]:
    if kind == "system" and draw(st.booleans()):
        hosts = st.sampled_from(["a/api GET /x", "a/api GET /x/{id} y", "a/api POST", "a  /", 'q"u GET /\\N,'])
        return {"host": draw(hosts), "metrics": draw(_requests)}
    if kind == "system":
        names = draw(st.lists(st.sampled_from(["cpu_usage", "uptime", "queue.length"]), min_size=1, unique=True))
        return {"host": draw(_texts), "metrics": {name: draw(_floats) for name in names}}
    if kind == "enterprise":
        names = draw(st.lists(st.sampled_from(["revenue_generated", "uptime"]), min_size=1, unique=True))
        team = {"team_type": draw(_texts)} if draw(st.booleans()) else {}
        return {"metrics": {name: draw(_money) for name in names}} | team
    if kind == "trade":
        data: dict[str, Any] = {
            "trade_id": draw(_texts),
            "user_id": draw(_texts),
            "broker": draw(st.sampled_from(["x", "y"])),
            "symbol": draw(_texts),
            "side": draw(st.sampled_from(["buy", "sell"])),
            "quantity": draw(_small_money) + Decimal("0.000000001"),
            "entry_price": draw(_small_money),
            "exit_price": draw(_small_money),
            "currency": draw(st.sampled_from(["USD", "BTC"])),
            "opened_at": (time - dt.timedelta(microseconds=draw(st.integers(0, 10**12)))).isoformat(),
            "closed_at": time.isoformat(),
        }
        optional = {"strategy": _texts, "fees": _money, "pnl": _money}
        return data | {name: draw(values) for name, values in optional.items() if draw(st.booleans())}
    data = {
        "video_id": draw(_texts),
        "creator_id": draw(st.sampled_from(["c1", "c2"])),
        "action": draw(st.sampled_from(["view", "like", "dislike", "unlike", "undislike", "share", "complete"])),
    }
    data[draw(st.sampled_from(["user_id", "session_id"]))] = draw(_texts)
    if draw(st.booleans()):
        data["watch_ms"] = draw(st.integers(0, 86_400_000))
    return data


@st.composite
def sample_lists(draw: st.DrawFn, *, max_size: int = 40, numbered: bool = False) -> list[Sample]:
    """Different events of all kinds by two organizations and a few sources; some sources number theirs where `numbered`."""
    kinds = st.sampled_from(["system", "enterprise", "trade", "view"])
    samples: list[Sample] = []
    counters: dict[tuple[int, str, str], int] = {}
    for position in range(draw(st.integers(1, max_size))):
        kind, organization, time = draw(kinds), draw(st.integers(0, 1)), draw(_times)
        source = draw(st.sampled_from(["s", "t", "numbered/1", "numbered/2"] if numbered else ["s", "t\\N"]))
        event = envelope(kind, f"{draw(_texts)}-{position}", draw(_data(kind, time)), time, source)
        if source.startswith("numbered/"):
            number = counters.get((organization, kind, source), -1) + draw(st.integers(1, 3))
            counters[organization, kind, source] = number
            event["sequence"] = draw(st.sampled_from([number, str(number)]))
        samples.append(Sample(organization, event))
    return samples


def _is_numbered(sample: Sample) -> bool:
    return "sequence" in sample.event


@st.composite
def deliveries(draw: st.DrawFn, samples: Sequence[Sample]) -> list[list[Sample]]:
    """A way in which the events may arrive: any order, any of them again, in any groups.

    Numbered events keep their order, as their sources promise; a repetition of one comes after it.
    """
    order = draw(st.permutations(range(len(samples))))
    places = sorted(place for place, position in enumerate(order) if _is_numbered(samples[position]))
    for place, position in zip(places, sorted(order[place] for place in places), strict=True):
        order[place] = position
    arrived = [samples[position] for position in order]
    for sample in draw(st.lists(st.sampled_from(samples), max_size=len(samples))):
        first = arrived.index(sample)
        arrived.insert(draw(st.integers(first + 1, len(arrived))), sample)
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(arrived) - 1)), max_size=6)))
    return [group for start, end in pairwise([0, *cuts, len(arrived)]) if (group := arrived[start:end])]
