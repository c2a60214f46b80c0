"""Request bodies to events: every content type, every event judged on its own, every refusal with its field."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Literal, cast

import msgspec

from ingest.events import AnyEvent, Event, InvalidEvent
from ingest.events.bodies import (
    TooManyEvents,
    elements,
    mark_lone_surrogates,
    ndjson_lines,
    quote_non_numbers,
    sentence,
)
from ingest.events.envelope import Float, texts
from ingest.events.trade import CURRENCY, Trade

JSON_TYPES = frozenset({"application/json", "application/cloudevents+json", "application/cloudevents-batch+json"})
NDJSON = "application/x-ndjson"
CONTENT_TYPES = JSON_TYPES | {NDJSON}

MAX_EVENTS = 10_000
"""Events in one request."""

_MANY_EVENTS = 32
"""From so many on a look at columns is quicker than one at each event."""

_ONE = msgspec.json.Decoder(AnyEvent)
_MANY = msgspec.json.Decoder(list[AnyEvent])
_NUMBERS: dict[str, msgspec.json.Decoder[Any]] = {
    "system": msgspec.json.Decoder(Float),
    "enterprise": msgspec.json.Decoder(Decimal),
}
# A message may quote what a sender wrote, so it is the last place named in it that counts.
_WHERE = re.compile(r"(?P<what>.*) - at (?P<key>`key` in )?`\$(?P<path>.*?)`", re.DOTALL).fullmatch
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`(?: - at `\$\.(data)`)?", re.DOTALL).fullmatch
_EXPECTED = {
    "specversion": "1.0",
    "sequence": "an integer of at least 0, or a decimal string of at most 18 digits",
    "data.side": "buy or sell",
    "data.action": "view, like, dislike, unlike, undislike, share or complete",
    "data.currency": CURRENCY,
}


class Rejection(msgspec.Struct, frozen=True):
    """Why one event of a request was not accepted. `index` counts from 0 in the order of the request."""

    index: int
    id: str | None
    error: str


class Limits(msgspec.Struct, frozen=True):
    """The times that are believed: from `earliest` to `ahead` after the moment of acceptance."""

    earliest: dt.datetime = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    ahead: dt.timedelta = dt.timedelta(minutes=10)


class Decoded(msgspec.Struct):
    """The good events of one request with their positions in it, and the refusals."""

    events: list[Event]
    indexes: list[int]
    rejected: list[Rejection]


def decode(body: bytes, content_type: str, *, now: dt.datetime, limits: Limits) -> Decoded:
    """Decodes one request body.

    Raises MalformedBody where it is not JSON (or NDJSON without a line), TooManyEvents above 10,000 events.
    An event that breaks its contract is refused by itself; its neighbours are not touched.
    """
    # Nearly no body holds an escape, and one byte is found faster than two.
    escaped = b"\\" in body
    if escaped:
        body = mark_lone_surrogates(body)
    suspicious = escaped and b"\\u0000" in body
    fast = None if content_type == NDJSON else _fast(body)
    if fast is not None:
        return _judge(fast, suspicious=suspicious, now=now, limits=limits)
    body = quote_non_numbers(body)
    pieces = ndjson_lines(body) if content_type == NDJSON else elements(body)
    if len(pieces) > MAX_EVENTS:
        raise TooManyEvents(f"{len(pieces)} events in one request: at most {MAX_EVENTS} are taken")
    return _judge([_one(piece) for piece in pieces], suspicious=suspicious, now=now, limits=limits, raws=pieces)


def _fast(body: bytes) -> list[Event | InvalidEvent] | None:
    """Decodes a body in which every event keeps its contract in one call, or returns None where one does not."""
    try:
        if body.lstrip()[:1] == b"[":
            events: list[Event | InvalidEvent] = list(_MANY.decode(body))
        else:
            events = [_ONE.decode(body)]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if len(events) > MAX_EVENTS:
        raise TooManyEvents(f"{len(events)} events in one request: at most {MAX_EVENTS} are taken")
    return events


def _one(piece: bytes) -> Event | InvalidEvent:
    """Decodes one event, or says which field is wrong."""
    try:
        event: Event = _ONE.decode(piece)
    except msgspec.ValidationError as error:
        return InvalidEvent(_wrong_metric(piece) or explain(str(error)))
    except msgspec.DecodeError as error:
        return InvalidEvent(f"event: {sentence(str(error))}")
    except UnicodeDecodeError:
        return InvalidEvent("event: is not UTF-8")
    except RecursionError:
        return InvalidEvent("event: nested too deeply")
    return event


class _Metrics(msgspec.Struct):
    metrics: dict[str, msgspec.Raw]


class _Measured(msgspec.Struct):
    type: Literal["system", "enterprise"]
    data: _Metrics


def _wrong_metric(piece: bytes) -> str | None:
    """Names the first metric whose value is no number that is taken; None where the event's fault is another."""
    try:
        event = msgspec.json.decode(piece, type=_Measured)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    for name, raw in event.data.metrics.items():
        try:
            _NUMBERS[event.type].decode(raw)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return f"data.metrics.{name[:64]}: expected a finite number of at most 1e18 in size"
    return None


def _judge(
    found: list[Event | InvalidEvent],
    *,
    suspicious: bool,
    now: dt.datetime,
    limits: Limits,
    raws: list[bytes] | None = None,
) -> Decoded:
    """Applies what the types cannot say: times, NULs, completion."""
    earliest, latest = limits.earliest, now + limits.ahead
    if len(found) >= _MANY_EVENTS and not suspicious and _settled(found, earliest, latest):
        return Decoded(cast("list[Event]", found), list(range(len(found))), [])
    rejected: list[Rejection] = []
    for index, event in enumerate(found):
        try:
            if isinstance(event, InvalidEvent):
                raise event
            _look(event, earliest, latest, suspicious=suspicious)
            data = event.data
            data.complete()
            if isinstance(data, Trade):
                event.time = data.closed_at
            if event.sequence is not None:
                event.sequence = int(event.sequence)
        except InvalidEvent as error:
            name = event.id.replace("\x00", "") if isinstance(event, Event) else _peek_id(raws[index] if raws else b"")
            rejected.append(Rejection(index, name, str(error)))
    refused = {rejection.index for rejection in rejected}
    good = {index: event for index, event in enumerate(found) if index not in refused and isinstance(event, Event)}
    return Decoded(list(good.values()), list(good), rejected)


def _settled(found: list[Event | InvalidEvent], earliest: dt.datetime, latest: dt.datetime) -> bool:
    """One look at all events, column by column: whether all are well and complete now. Where not, each needs a look of its own."""
    kinds = set(map(type, found))
    for kind in kinds:
        if kind is InvalidEvent:
            return False
        events = cast("list[Event]", found if len(kinds) == 1 else [event for event in found if type(event) is kind])
        data = [event.data for event in events]
        if isinstance(data[0], Trade):
            # What is opened before it is closed is opened before the latest time, and closed after the earliest.
            earlier, times = [trade.opened_at for trade in data], [trade.closed_at for trade in data]
        else:
            earlier = times = [event.time for event in events]
        if min(earlier) < earliest or max(times) > latest or not type(data[0]).settle(data):
            return False
        if isinstance(data[0], Trade):
            for event, time in zip(events, times, strict=True):
                event.time = time
        for event in events:
            if event.sequence is not None:
                event.sequence = int(event.sequence)
    return True


def _look(event: Event, earliest: dt.datetime, latest: dt.datetime, *, suspicious: bool) -> None:
    """Looks at one event by itself; raises InvalidEvent."""
    data = event.data
    data.check()
    if isinstance(data, Trade):
        _check_time("data.opened_at", data.opened_at, earliest, latest)
        _check_time("data.closed_at", data.closed_at, earliest, latest)
    else:
        _check_time("time", event.time, earliest, latest)
    if suspicious:
        _check_nul(event)


def _check_time(field: str, time: dt.datetime, earliest: dt.datetime, latest: dt.datetime) -> None:
    if time < earliest:
        raise InvalidEvent(f"{field}: lies before {earliest:%Y-%m-%d}, the earliest time that is taken")
    if time > latest:
        raise InvalidEvent(f"{field}: lies in the future, after {latest:%Y-%m-%dT%H:%M:%SZ}")


def _check_nul(event: Event) -> None:
    for path, text in texts(msgspec.json.decode(msgspec.json.encode(event))):
        if "\x00" in text:
            raise InvalidEvent(
                f"{path.replace(chr(0), '')}: holds a NUL or half of a surrogate pair, which are no text"
            )


def _peek_id(raw: bytes) -> str | None:
    """Finds the id of an event that could not be decoded, so that its sender can tell which one it was."""

    class Named(msgspec.Struct):
        id: Any = None

    try:
        found = msgspec.json.decode(raw, type=Named).id
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return found[:256].replace("\x00", "") if isinstance(found, str) else None


def explain(message: str) -> str:
    """Turns msgspec's message into ours: the field first, then what was expected."""
    unknown = _UNKNOWN(message)
    if unknown:
        name = unknown[1].removesuffix("` - at `$.data")[:80]
        return f"{'data.' if message.endswith('`$.data`') else ''}{name}: is not a field of this kind of event"
    match = _WHERE(message)
    path = match["path"].lstrip(".").replace("[...]", "")[:200] if match else ""
    what = (match["what"] if match else message).replace("`", "")
    if match and match["key"]:
        return f"{path}: a name in it: {sentence(what)}"
    missing = re.match(r"Object missing required field (\w+)", what)
    if missing:
        return f"{path + '.' if path else ''}{missing[1]}: is missing"
    if path == "type" and what.startswith("Invalid value"):
        return "type: expected system, enterprise, trade or view"
    if path in _EXPECTED:
        return f"{path}: expected {_EXPECTED[path]}"
    return f"{path or 'event'}: {sentence(what)}"


def refuse(decoded: Decoded, reasons: Iterable[str | None]) -> Decoded:
    """Moves the events that have a reason from the good ones to the refusals."""
    reasons = list(reasons)
    if not any(reasons):
        return decoded
    kept = Decoded([], [], list(decoded.rejected))
    for event, index, reason in zip(decoded.events, decoded.indexes, reasons, strict=True):
        if reason is None:
            kept.events.append(event)
            kept.indexes.append(index)
        else:
            kept.rejected.append(Rejection(index, event.id, reason))
    kept.rejected.sort(key=lambda rejection: rejection.index)
    return kept
