"""The decoder: every content type, bodies that are malformed as a whole, and how many events one may hold."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from ingest.events.bodies import MalformedBody, TooManyEvents
from ingest.events.decode import CONTENT_TYPES, MAX_EVENTS, NDJSON
from tests.unit.decode_samples import DATA, event, read, with_data


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
