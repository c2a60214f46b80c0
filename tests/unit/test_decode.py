"""The decoder: every content type, every refusal with its field and its index, neighbours untouched, hostile bodies answered."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.events.bodies import MalformedBody, TooManyEvents
from ingest.events.decode import (
    CONTENT_TYPES,
    MAX_EVENTS,
    NDJSON,
    Decoded,
    Limits,
    decode,
    refuse,
)
from tests.samples import NOW, body, sample_lists

TIME = "2026-03-31T10:00:00Z"
DATA: dict[str, dict[str, Any]] = {
    "system": {"host": "web-1", "metrics": {"cpu_usage": 74.79}},
    "enterprise": {"metrics": {"revenue_generated": 12.5}, "team_type": "ml"},
    "trade": {
        "trade_id": "t",
        "user_id": "u",
        "broker": "b",
        "symbol": "s",
        "side": "buy",
        "quantity": "2",
        "entry_price": "1",
        "exit_price": "3",
        "currency": "USD",
        "opened_at": TIME,
        "closed_at": TIME,
    },
    "view": {"video_id": "v", "creator_id": "c", "action": "like", "user_id": "u"},
}


def event(kind: str = "system", **changes: Any) -> dict[str, Any]:
    """A good event, with changes; a change to ... leaves the attribute out."""
    made = {"specversion": "1.0", "id": f"{kind}-1", "source": "s", "type": kind, "time": TIME, "data": DATA[kind]}
    return {name: value for name, value in (made | changes).items() if value is not ...}


def with_data(kind: str, **changes: Any) -> dict[str, Any]:
    """A good event with changes to its data."""
    return event(kind, data={name: value for name, value in (DATA[kind] | changes).items() if value is not ...})


def read(content: bytes | list[Any] | dict[str, Any], content_type: str = "application/json") -> Decoded:
    """Decodes a body as the API would at `NOW`."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return decode(raw, content_type, now=NOW, limits=Limits())


def error_of(bad: Any) -> str:
    """The refusal of an event between two good ones, which must not be touched."""
    decoded = read([event("view"), bad, event("trade")])
    assert decoded.indexes == [0, 2]
    assert [one.kind for one in decoded.events] == ["view", "trade"]
    (rejection,) = decoded.rejected
    assert rejection.index == 1
    alone = read(bad)
    assert [one.error for one in alone.rejected] == [rejection.error]
    (line,) = read(json.dumps(bad).encode(), NDJSON).rejected
    assert line.error == rejection.error
    return rejection.error


@pytest.mark.parametrize("content_type", sorted(CONTENT_TYPES - {NDJSON}))
@pytest.mark.parametrize("kind", sorted(DATA))
def test_one_event_and_an_array_in_every_json_type(content_type: str, kind: str) -> None:
    for content, expected in ((event(kind), 1), ([event(kind), event(kind, id="2")], 2), ([], 0)):
        decoded = read(content, content_type)
        assert decoded.indexes == list(range(expected))
        assert [one.type for one in decoded.events] == [kind] * expected
        assert decoded.rejected == []


def test_lines_are_events_and_empty_lines_are_nothing() -> None:
    lines = [json.dumps(event("view")), "", "  ", "{", json.dumps(event("system", id="2")), "5"]
    for end in ("\n", "\r\n"):
        decoded = read(end.join(lines).encode(), NDJSON)
        assert decoded.indexes == [0, 2]
        assert [(one.index, one.error.split(":")[0]) for one in decoded.rejected] == [(1, "event"), (3, "event")]


def test_blanks_around_a_body_are_nothing() -> None:
    assert len(read(b" \n\t" + json.dumps([event()]).encode() + b"\n ").events) == 1


LONG = "x" * 257
REFUSALS: list[tuple[Any, str]] = [
    (event(specversion=...), "specversion: is missing"),
    (event(specversion="0.3"), "specversion: expected 1.0"),
    (event(id=...), "id: is missing"),
    (event(id=""), "id: "),
    (event(id=7), "id: "),
    (event(id=LONG), "id: "),
    (event(source=...), "source: is missing"),
    (event(source=""), "source: "),
    (event(source=LONG), "source: "),
    (event(type=...), "type: is missing"),
    (event(type="syste"), "type: expected system, enterprise, trade or view"),
    (event(type=None), "type: "),
    (event(time=...), "time: is missing"),
    (event(time="yesterday"), "time: "),
    (event(time=1_767_607_200), "time: "),
    (event(time="2026-03-31T10:00:00"), "time: "),
    (event(time="1900-01-01T00:00:00Z"), "time: lies before 2000-01-01"),
    (event(time="1999-12-31T23:59:59.999999Z"), "time: lies before 2000-01-01"),
    (event(time="2900-01-01T00:00:00Z"), "time: lies in the future"),
    (event(time="2026-03-31T12:10:00.000001Z"), "time: lies in the future"),
    (event(time="0001-01-01T00:00:00+14:00"), "time: lies before"),
    (event(time="9999-12-31T23:59:59-14:00"), "time: lies in the future"),
    (event(data=...), "data: is missing"),
    (event(data=[]), "data: "),
    (event(sequence=-1), "sequence: expected an integer of at least 0"),
    (event(sequence=2**63), "sequence: expected an integer of at least 0"),
    (event(sequence="1e3"), "sequence: expected an integer of at least 0"),
    (event(sequence=True), "sequence: expected an integer of at least 0"),
    (with_data("system", host=...), "data.host: is missing"),
    (with_data("system", host=""), "data.host: "),
    (with_data("system", host=LONG), "data.host: "),
    (with_data("system", metrics=...), "data.metrics: is missing"),
    (with_data("system", metrics={}), "data.metrics: "),
    (with_data("system", metrics={"m": "1"}), "data.metrics.m: expected a finite number"),
    (with_data("system", metrics={"m": None}), "data.metrics.m: expected a finite number"),
    (with_data("system", metrics={"m": True}), "data.metrics.m: expected a finite number"),
    (with_data("system", metrics={"m": 1.1e18}), "data.metrics.m: expected a finite number"),
    (with_data("system", metrics={"x" * 65: 1}), "data.metrics: a name in it: "),
    (with_data("system", metrics={f"m{n}": 1 for n in range(257)}), "data.metrics: "),
    (with_data("system", cpu=1), "data.cpu: is not a field of this kind of event"),
    (with_data("enterprise", metrics={"m": "NaN"}), "data.metrics.m: expected a finite number"),
    (with_data("enterprise", metrics={"m": "-Infinity"}), "data.metrics.m: expected a finite number"),
    (with_data("enterprise", metrics={"m": "1e18"}), "data.metrics.m: expected a finite number"),
    (with_data("enterprise", metrics={"m": "1e-19"}), "data.metrics.m: expected a finite number"),
    (with_data("enterprise", metrics={"m": "1e99999999999999999999"}), "data.metrics.m: expected a finite number"),
    (with_data("enterprise", metrics={"m": "ten"}), "data.metrics.m: expected a finite number"),
    (with_data("enterprise", team_type=""), "data.team_type: "),
    (with_data("trade", side="long"), "data.side: expected buy or sell"),
    (with_data("trade", quantity=0), "data.quantity: expected a number above 0"),
    (with_data("trade", quantity=-1), "data.quantity: expected a number above 0"),
    (with_data("trade", quantity="NaN"), "data.quantity: expected a finite number"),
    (with_data("trade", quantity=[1]), "data.quantity: "),
    (with_data("trade", entry_price=-1), "data.entry_price: expected a number of at least 0"),
    (with_data("trade", exit_price=-1), "data.exit_price: expected a number of at least 0"),
    (with_data("trade", exit_price="Infinity"), "data.exit_price: expected a finite number"),
    (with_data("trade", fees="0.0000000000000000001"), "data.fees: expected a finite number"),
    (with_data("trade", pnl="1000000000000000000"), "data.pnl: expected a finite number"),
    (with_data("trade", quantity="9e17", exit_price="9e17"), "data.pnl: has more than 18 digits"),
    (with_data("trade", currency="usd"), "data.currency: expected a code"),
    (with_data("trade", currency="USD\n"), "data.currency: expected a code"),
    (with_data("trade", opened_at="2026-03-31T10:00:01Z"), "data.opened_at: lies after data.closed_at"),
    (with_data("trade", opened_at="1900-01-01T00:00:00Z"), "data.opened_at: lies before"),
    (with_data("trade", closed_at="2900-01-01T00:00:00Z"), "data.closed_at: lies in the future"),
    (with_data("trade", closed_at="2026-03-31"), "data.closed_at: "),
    (with_data("trade", strategy=""), "data.strategy: "),
    (with_data("view", action="watch"), "data.action: expected view, like"),
    (with_data("view", user_id=...), "data.user_id: user_id or session_id is needed"),
    (with_data("view", user_id=None), "data.user_id: user_id or session_id is needed"),
    (with_data("view", watch_ms=-1), "data.watch_ms: "),
    (with_data("view", watch_ms=86_400_001), "data.watch_ms: "),
    (with_data("view", watch_ms=1.5), "data.watch_ms: "),
    (with_data("view", user_id="a\x00b"), "data.user_id: holds a NUL"),
    (with_data("view", user_id="\ud800"), "data.user_id: holds a NUL or half of a surrogate pair"),
    (with_data("view", user_id="a\udfffb"), "data.user_id: holds a NUL or half of a surrogate pair"),
    (with_data("system", metrics={"m\x00": 1}), "data.metrics.m: holds a NUL"),
    (event(id="\x00"), "id: holds a NUL"),
    (5, "event: "),
    ("text", "event: "),
    (None, "event: "),
    ({}, "type: is missing"),
]


@pytest.mark.parametrize(("bad", "beginning"), REFUSALS, ids=range(len(REFUSALS)))
def test_a_refusal_names_its_field_and_leaves_the_neighbours_alone(bad: Any, beginning: str) -> None:
    assert error_of(bad).startswith(beginning)


@pytest.mark.parametrize("bad", [event(), [event()], [[event()]]])
def test_an_array_inside_an_array_is_not_an_event(bad: Any) -> None:
    (rejection,) = read([bad] if isinstance(bad, list) else [[bad]]).rejected
    assert rejection.error.startswith("event: ")


def test_a_refusal_carries_the_id_where_there_is_one() -> None:
    decoded = read([event(id="mine", type="x"), event(id=9), event("view", id="late", time="2900-01-01T00:00:00Z"), 5])
    assert [one.id for one in decoded.rejected] == ["mine", None, "late", None]


def test_what_is_good_stays_what_was_sent() -> None:
    decoded = read(
        [
            event("system", traceparent={"any": ["extension", None]}, datacontenttype="application/json"),
            event("view", sequence="007"),
            event("view", sequence=2**63 - 1),
            event("system", time="2026-03-31T12:00:00.123456+02:00"),
            event("system", time="2026-03-31T12:10:00Z"),
            event("system", time="2000-01-01T00:00:00Z"),
            event("view", id="\U0001f600 \\ud800 <b>'; drop"),
        ]
    )
    assert decoded.rejected == []
    assert [one.sequence for one in decoded.events] == [None, 7, 2**63 - 1, None, None, None, None]
    assert decoded.events[3].time == dt.datetime(2026, 3, 31, 10, 0, 0, 123456, dt.UTC)
    assert decoded.events[6].id == "\U0001f600 \\ud800 <b>'; drop"


def test_a_trade_happened_when_it_closed() -> None:
    (decoded,) = read(event("trade", time="2026-03-31T11:00:00Z")).events
    assert decoded.time == dt.datetime(2026, 3, 31, 10, tzinfo=dt.UTC)


MALFORMED = [
    b"",
    b"  ",
    b"{",
    b'[{"specversion": "1.0"',
    json.dumps([event()]).encode()[:-1],
    json.dumps([event(), event()]).replace('"type"', "type").encode(),
    json.dumps([event()]).encode() + b"x",
    json.dumps([event(id="a")]).replace('"a"', '"a\x00b"').encode(),
    b"\xff\xfe\x00",
    b"\x1f\x8b\x08",
    b"[" * 1_000_000,
    b'{"a":' * 1_000_000,
    b"[" * 500_000 + b"]" * 500_000,
    json.dumps(event()).encode("utf-16"),
]


@pytest.mark.parametrize("content", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_json_is_malformed_as_a_whole(content: bytes) -> None:
    with pytest.raises(MalformedBody, match=r"^body: .{3,300}$"):
        read(content)


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_what_some_encoders_write_for_no_number_refuses_its_event_alone(token: str) -> None:
    host = 'NaN " Infinity \\'
    bad = json.dumps(with_data("system", metrics={"fine": 1, "wrong": 74.79}, host=host)).replace("74.79", token)
    good = json.dumps(with_data("system", host=host))
    decoded = read(f"[{good},{bad},{good}]".encode())
    assert [found.data.host for found in decoded.events] == [host, host]
    (refused,) = decoded.rejected
    assert (refused.index, refused.error[:19]) == (1, "data.metrics.wrong:")


@pytest.mark.parametrize("content", [b"", b"\n\n \r\n"])
def test_ndjson_without_a_line_is_malformed(content: bytes) -> None:
    with pytest.raises(MalformedBody, match="no line"):
        read(content, NDJSON)


def test_a_broken_line_does_not_touch_the_other_lines() -> None:
    good = json.dumps(event("view")).encode()
    broken = [line for line in MALFORMED[2:] if b"\n" not in line and b"\r" not in line]
    decoded = read(b"\n".join([good, *broken, good]), NDJSON)
    assert decoded.indexes == [0, len(broken) + 1]
    assert len(decoded.rejected) == len(broken)


def test_ten_thousand_events_are_taken_and_one_more_is_not() -> None:
    text = json.dumps(event("view"))
    for good in (text, text.replace("like", "hate")):
        most = [good] * MAX_EVENTS
        for content, kind in (("[" + ",".join(most) + "]", "application/json"), ("\n".join(most), NDJSON)):
            decoded = read(content.encode(), kind)
            assert len(decoded.events) + len(decoded.rejected) == MAX_EVENTS
        most.append(good)
        for content, kind in (("[" + ",".join(most) + "]", "application/json"), ("\n".join(most), NDJSON)):
            with pytest.raises(TooManyEvents, match="10001"):
                read(content.encode(), kind)


HUGE = "x" * 10_000_000
DIGITS = "9" * 10_000_000


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (event(id=HUGE), "id"),
        (event(source=HUGE), "source"),
        (event(type=HUGE), "type"),
        (event(time=HUGE), "time"),
        (event(specversion=HUGE), "specversion"),
        (event(sequence=DIGITS), "sequence"),
        (event(data=HUGE), "data"),
        (with_data("system", **{HUGE: 1}), "data.xxx"),
        (with_data("system", metrics={HUGE: 1}), "data.metrics"),
        (with_data("system", metrics={"m": HUGE}), "data.metrics"),
        (with_data("enterprise", metrics={"m": DIGITS}), "data.metrics.m"),
        (with_data("trade", quantity=DIGITS), "data.quantity"),
        (with_data("trade", currency="A" * 10_000_000), "data.currency"),
        (with_data("view", action=HUGE), "data.action"),
    ],
    ids=range(14),
)
def test_a_string_of_ten_megabytes_is_refused_briefly(bad: dict[str, Any], field: str) -> None:
    decoded = read([event("view"), bad])
    assert decoded.indexes == [0]
    assert decoded.rejected[0].error.startswith(field)
    assert len(decoded.rejected[0].error) < 400
    assert len(decoded.rejected[0].id or "") <= 256


def test_a_number_of_ten_megabytes_is_refused_briefly() -> None:
    for kind, field in (("system", "data.metrics"), ("enterprise", "data.metrics")):
        text = json.dumps([event("view"), with_data(kind, metrics={"m": 5})]).replace(": 5", f": {DIGITS}")
        decoded = read(text.encode())
        assert decoded.indexes == [0]
        assert decoded.rejected[0].error.startswith(field)
        assert len(decoded.rejected[0].error) < 400


def test_refuse_moves_events_to_the_refusals_in_the_order_of_the_request() -> None:
    decoded = read([event("view", id="a"), 5, event("view", id="b"), event("view", id="c")])
    moved = refuse(decoded, [None, "full", None])
    assert [(one.index, one.id) for one in moved.rejected] == [(1, None), (2, "b")]
    assert moved.indexes == [0, 3]
    assert [one.id for one in moved.events] == ["a", "c"]


_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_json = st.recursive(
    _scalars | st.sampled_from(["\ud800", "\x00", "1e5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A good event in which any value anywhere was exchanged, removed or added."""
    made = json.loads(json.dumps(event(draw(st.sampled_from(sorted(DATA))))))
    for _ in range(draw(st.integers(0, 3))):
        place = made
        while isinstance(place, dict) and place:
            name = draw(st.sampled_from(sorted(place)))
            if isinstance(place[name], dict) and draw(st.booleans()):
                place = place[name]
                continue
            what = draw(st.sampled_from(["exchange", "remove", "add"]))
            if what == "exchange":
                place[name] = draw(_json)
            elif what == "remove":
                del place[name]
            else:
                place[draw(st.text(max_size=8))] = draw(_json)
            break
    return made


@settings(max_examples=200, deadline=None)
@given(events=st.lists(mutated(), max_size=5), lines=st.booleans())
def test_no_event_is_lost_whatever_was_done_to_it(events: list[Any], lines: bool) -> None:
    as_lines = "\n".join(map(json.dumps, events)).encode()
    decoded = read(as_lines, NDJSON) if lines and events else read(events)
    positions = decoded.indexes + [one.index for one in decoded.rejected]
    assert sorted(positions) == list(range(len(events)))
    for one in decoded.rejected:
        assert 3 < len(one.error) < 400
    for index, good in zip(decoded.indexes, decoded.events, strict=True):
        assert good.id == events[index]["id"]
        alone = read(events[index])
        assert alone.events == [good]
        text = msgspec.json.encode(good).decode()
        assert "\\u0000" not in text


_bytes = st.binary(max_size=3)


@settings(max_examples=200, deadline=None)
@given(
    content=st.binary(max_size=200)
    | st.text().map(str.encode)
    | st.builds(lambda a, b: b"[" + a + b + b"]", _bytes, _bytes),
    content_type=st.sampled_from(sorted(CONTENT_TYPES)),
)
def test_arbitrary_bytes_are_answered(content: bytes, content_type: str) -> None:
    try:
        decoded = read(content, content_type)
    except (MalformedBody, TooManyEvents):
        return
    assert decoded.events == []


@settings(max_examples=200, deadline=None)
@given(data=st.data(), samples=sample_lists(max_size=4), content_type=st.sampled_from(["application/json", NDJSON]))
def test_flipped_bytes_never_bring_the_decoder_down(data: st.DataObject, samples: Any, content_type: str) -> None:
    content = bytearray(body(samples))
    plain = [place for place, byte in enumerate(content) if byte < 128]
    for place in data.draw(st.lists(st.sampled_from(plain), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 127))
    with contextlib.suppress(MalformedBody, TooManyEvents):
        read(bytes(content), content_type)
