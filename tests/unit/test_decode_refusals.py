"""What the decoder refuses: each event with its field and its index, briefly, its neighbours untouched."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingest.events.decode import refuse
from tests.unit.decode_samples import error_of, event, read, with_data

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
