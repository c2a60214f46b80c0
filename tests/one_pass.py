"""What every rollup must hold, computed in one pass over the senders' own JSON in plain Python: no polars, no engine, no floor of ours."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

from tests.samples import Sample

Row = dict[str, Any]
Key = tuple[Any, ...]
Tables = dict[tuple[str, str], dict[Key, Row]]
"""By rollup and grain: rows by organization, bucket and keys."""

WIDTHS = {"1m": 60, "15m": 900, "1h": 3600, "1d": 86400}
GRAINS = {
    "system_metrics": ("1m", "15m", "1h", "1d"),
    "enterprise_metrics": ("1m", "15m", "1h", "1d"),
    "trade_pnl": ("15m", "1d"),
    "video_engagement": ("15m", "1d"),
    "api_requests": ("1m", "15m", "1d"),
}
SKETCHED_GRAINS = ("15m", "1d")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass
class Values:
    """The plain values behind a histogram or a sum of floats; a stored figure is compared with all of them."""

    items: list[float] = field(default_factory=list)


def microseconds(time: str) -> int:
    """A time as whole microseconds since 1970."""
    moment = dt.datetime.fromisoformat(time) - _EPOCH
    return (moment.days * 86400 + moment.seconds) * 1_000_000 + moment.microseconds


def half_even(value: Fraction, digits: int = 18) -> Fraction:
    """The value rounded to so many digits behind the point, a tie to the even neighbour (Python's rule for a Fraction)."""
    return Fraction(round(value * 10**digits), 10**digits)


def realized(data: Mapping[str, Any]) -> Fraction:
    """A trade's result before fees."""
    if "pnl" in data:
        return Fraction(data["pnl"])
    moved = Fraction(data["exit_price"]) - Fraction(data["entry_price"])
    return half_even((moved if data["side"] == "buy" else -moved) * Fraction(data["quantity"]))


def registers(viewers: Iterable[str]) -> list[int]:
    """HyperLogLog registers by the published algorithm: the first 12 bits choose, the rest's leading zeros + 1 are kept."""
    best: dict[int, int] = {}
    for viewer in viewers:
        bits = "".join(f"{byte:08b}" for byte in hashlib.blake2b(viewer.encode(), digest_size=8).digest())
        index, rest = int(bits[:12], 2), bits[12:]
        rank = len(rest) - len(rest.lstrip("0")) + 1
        best[index] = max(best.get(index, 0), rank)
    return sorted((index << 40) + rank for index, rank in best.items())


def one_pass(samples: Iterable[Sample], organizations: Sequence[UUID]) -> Tables:
    """The rows of every rollup over these events, each of which counts once."""
    tables: Tables = {(name, grain): {} for name, grains in GRAINS.items() for grain in grains}
    groups: dict[tuple[str, str], dict[Key, list[Sample]]] = {name: {} for name in tables}
    for sample in samples:
        event, data = sample.event, sample.event["data"]
        time = microseconds(data["closed_at"] if event["type"] == "trade" else event["time"])
        for name, keys in _placed(event):
            for grain in GRAINS[name]:
                bucket = time // (WIDTHS[grain] * 1_000_000) * WIDTHS[grain]
                key = (organizations[sample.organization], bucket, *keys)
                groups[name, grain].setdefault(key, []).append(sample)
    for (name, grain), found in groups.items():
        for key, members in found.items():
            figures = {"trade_pnl": _trades, "video_engagement": _views, "api_requests": _requests}.get(name)
            if figures is not None:
                tables[name, grain][key] = figures([member.event for member in members])
            else:
                tables[name, grain][key] = _metric(name, grain, key[-1], [member.event for member in members])
    return tables


def _placed(event: Mapping[str, Any]) -> list[tuple[str, Key]]:
    data = event["data"]
    match event["type"]:
        case "system":
            places: list[tuple[str, Key]] = [("system_metrics", (data["host"], name)) for name in data["metrics"]]
            return [*places, ("api_requests", tuple(data["host"].split(" ", 2)))] if _tells(data) else places
        case "enterprise":
            return [("enterprise_metrics", (data.get("team_type", ""), metric)) for metric in data["metrics"]]
        case "trade":
            names = ("user_id", "broker", "symbol", "strategy", "currency")
            return [("trade_pnl", tuple(data.get(name, "") for name in names))]
        case _:
            return [("video_engagement", (data["creator_id"], data["video_id"]))]


def _tells(data: Mapping[str, Any]) -> bool:
    """Whether a measurement tells of requests, and can be true."""
    metrics = data["metrics"]
    number, errors = metrics.get("api.requests", 0), metrics.get("api.errors", 0)
    return (
        data["host"].count(" ") >= 2
        and metrics.get("api.request_time", -1) >= 0
        and 1 <= number <= 1_000_000
        and 0 <= errors <= number
        and float(number).is_integer()
        and float(errors).is_integer()
    )


def _requests(events: list[Any]) -> Row:
    rows = [event["data"]["metrics"] for event in events]
    times = [float(row["api.request_time"]) for row in rows for _ in range(int(row["api.requests"]))]
    return {
        "requests": len(times),
        "errors": sum(int(row.get("api.errors", 0)) for row in rows),
        "total_ms": Values(times),
        "slowest": max(times),
        "distribution": Values(times),
    }


def _metric(name: str, grain: str, metric: str, events: list[Any]) -> Row:
    exact = name == "enterprise_metrics"
    latest = max(events, key=lambda event: (microseconds(event["time"]), event["source"], event["id"]))
    values = [event["data"]["metrics"][metric] for event in events]
    row: Row = {
        "count": len(values),
        "sum": sum((Fraction(value) for value in values), Fraction(0)) if exact else Values(values),
        "min": min(values),
        "max": max(values),
        "last": latest["data"]["metrics"][metric],
        "last_time": microseconds(latest["time"]),
        "last_source": latest["source"],
        "last_id": latest["id"],
    }
    if grain in SKETCHED_GRAINS:
        row["distribution"] = Values([float(value) for value in values])
    return row


def _trades(events: list[Any]) -> Row:
    rows = [event["data"] for event in events]
    fees = [Fraction(data.get("fees", 0)) for data in rows]
    nets = [realized(data) - fee for data, fee in zip(rows, fees, strict=True)]
    return {
        "trades": len(rows),
        "wins": sum(1 for net in nets if net > 0),
        "losses": sum(1 for net in nets if net < 0),
        "pnl": sum(map(realized, rows), Fraction(0)),
        "fees": sum(fees, Fraction(0)),
        "net": sum(nets, Fraction(0)),
        "profit": sum((net for net in nets if net > 0), Fraction(0)),
        "loss": -sum((net for net in nets if net < 0), Fraction(0)),
        "best": max(nets),
        "worst": min(nets),
        "held_us": sum(microseconds(data["closed_at"]) - microseconds(data["opened_at"]) for data in rows),
    }


def pairs(written: bytes) -> list[int]:
    """A stored sketch read byte by byte: its pairs as index * 2**40 + value."""
    numbers: list[int] = []
    shift = 0
    for byte in written:
        if shift == 0:
            numbers.append(0)
        numbers[-1] += (byte & 127) << shift
        shift = shift + 7 if byte & 128 else 0
    assert shift == 0
    assert numbers[0] == 0
    assert 0 not in numbers[1:]
    found: list[int] = []
    index = (numbers[1] - 1) // 2 if numbers[1] % 2 else -(numbers[1] // 2)
    for gap, value in zip([0, *numbers[3::2]], numbers[2::2], strict=True):
        index += gap
        found.append((index << 40) + value)
    return found


def viewer(data: Mapping[str, Any]) -> str:
    """Who acted: an account or a browser session."""
    return f"u:{data['user_id']}" if "user_id" in data else f"s:{data['session_id']}"


def _views(events: list[Any]) -> Row:
    rows = [event["data"] for event in events]
    counted = {
        "views": "view",
        "likes": "like",
        "dislikes": "dislike",
        "unlikes": "unlike",
        "undislikes": "undislike",
        "shares": "share",
        "completes": "complete",
    }
    return {
        "events": len(rows),
        **{name: sum(1 for data in rows if data["action"] == action) for name, action in counted.items()},
        "watch_ms": sum(data.get("watch_ms", 0) for data in rows),
        "last_active": max(microseconds(event["time"]) for event in events),
        "viewer_registers": registers(map(viewer, rows)),
    }


def reactions(samples: Iterable[Sample], organizations: Sequence[UUID]) -> dict[Key, Row]:
    """Everyone's current reaction to each video: the latest by time and id, then source."""
    latest: dict[Key, Any] = {}
    for sample in samples:
        event = sample.event
        if event["type"] == "view" and event["data"]["action"] in ("like", "dislike", "unlike", "undislike"):
            key = (organizations[sample.organization], event["data"]["video_id"], viewer(event["data"]))
            place = (microseconds(event["time"]), event["id"], event["source"])
            if key not in latest or place > tuple(latest[key][name] for name in ("microseconds", "id", "source")):
                event = {**event, "microseconds": place[0]}
                latest[key] = event
    meaning = {"like": "like", "dislike": "dislike"}
    return {
        key: {
            "creator_id": event["data"]["creator_id"],
            "reaction": meaning.get(event["data"]["action"]),
            "time": microseconds(event["time"]),
            "id": event["id"],
            "source": event["source"],
        }
        for key, event in latest.items()
    }


def differences(expected: Tables, actual: Tables) -> list[str]:
    """Every figure in which the two are not equal, in words; empty where they agree."""
    found = []
    for name, rows in expected.items():
        other = actual[name]
        found += [f"{name} {key}: is missing" for key in rows.keys() - other.keys()]
        found += [f"{name} {key}: should not be there" for key in other.keys() - rows.keys()]
        for key in rows.keys() & other.keys():
            if rows[key].keys() != other[key].keys():
                found.append(f"{name}: has the figures {sorted(other[key])}, expected {sorted(rows[key])}")
            found += [
                f"{name} {key} {figure}: {other[key].get(figure)!r}, expected {value!r}"
                for figure, value in rows[key].items()
                if not _equal(value, other[key].get(figure), bins=figure == "distribution")
            ]
    return found


def _equal(expected: Any, actual: Any, *, bins: bool) -> bool:
    if isinstance(expected, Values) and bins:
        return _bins_match(sorted(expected.items), actual)
    if isinstance(expected, Values):
        # Rounding errors are in proportion to what was added up, not to what is left after cancellation.
        return bool(abs(actual - math.fsum(expected.items)) <= 1e-12 * math.fsum(map(abs, expected.items)))
    if isinstance(expected, Fraction | Decimal):
        return isinstance(actual, Decimal) and Fraction(actual) == Fraction(expected)
    return bool(actual == expected)


def _bins_match(values: list[float], packed: Sequence[int]) -> bool:
    """Whether the bins, written out as a sorted list of representatives, are within 1 % of the sorted values, one by one."""
    gamma = (1 + 0.0099) / (1 - 0.0099)
    written: list[float] = []
    for pair in packed:
        index, count = pair >> 40, pair & ((1 << 40) - 1)
        size = 0.0 if index == 0 else 2 * gamma ** (abs(index) - 50_000) / (gamma + 1)
        written += [size if index > 0 else -size] * count
    # Values near the smallest a float can hold have no neighbours within 1 %.
    return (
        len(written) == len(values)
        and list(packed) == sorted(packed)
        and all(abs(one - value) <= max(0.01 * abs(value), 1e-320) for one, value in zip(written, values, strict=True))
    )
