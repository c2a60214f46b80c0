"""The decoder and events to which anything was done: every one is accepted or refused, and nothing brings it down."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.events.bodies import MalformedBody, TooManyEvents
from ingest.events.decode import CONTENT_TYPES, NDJSON
from tests.samples import body, sample_lists
from tests.unit.decode_samples import DATA, event, read

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
