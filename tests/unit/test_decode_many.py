"""The law of the decoder's two ways: many events looked at by the column come out as they do one by one."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.events import Event
from ingest.events.decode import Limits, decode
from tests.samples import NOW, START, Sample, body, system, trade, view

MANY = 40
"""Enough for the way by the column, which begins at 32."""

_amounts = (
    st.decimals(0, 10**9, places=2)
    | st.integers(0, 10**18 - 1).map(lambda n: Decimal(f"{n}e-9"))
    | st.integers(0, 10**36 - 1).map(lambda n: Decimal(f"{n}e-18"))
    | st.sampled_from(
        ["0", "0.0", "-0", "-1", "1e3", "1E-3", "0.000000001", "999999999.999999999", "9999999999", "", "x"]
    )
    | st.sampled_from(["1.", ".5", "01", "+1", "1\n2", "NaN", "1e400", None, True, [1], {"a": 1}])
)
_times = st.sampled_from(
    [START, START - dt.timedelta(days=1), dt.datetime(1999, 12, 31, 23, tzinfo=dt.UTC), NOW + dt.timedelta(minutes=11)]
)
_currencies = st.sampled_from(["EUR", "USDT", "X1", "A" * 12]) | st.sampled_from(
    ["usd", "U", "A" * 13, "1USD", "USD\n", "ÜSD", "U SD", "", None, 5]
)


@st.composite
def _trades(draw: st.DrawFn) -> Sample:
    fields: dict[str, Any] = {"side": draw(st.sampled_from(["buy", "sell"]))}
    for name in ("quantity", "entry_price", "exit_price", "fees", "pnl"):
        if draw(st.booleans()):
            fields[name] = draw(_amounts)
    if draw(st.booleans()):
        fields["currency"] = draw(_currencies)
    for name in ("opened_at", "closed_at"):
        if draw(st.booleans()):
            fields[name] = draw(_times).isoformat()
    return trade("t", None, **fields)


@st.composite
def _others(draw: st.DrawFn) -> Sample:
    time = draw(_times)
    if draw(st.booleans()):
        return system(
            "s", draw(st.floats(-1e19, 1e19)), time=time.isoformat(), sequence=draw(st.sampled_from([7, "7"]))
        )
    viewer = draw(st.sampled_from([{"user_id": "ann"}, {"user_id": None}, {"user_id": None, "session_id": "s"}]))
    return view("v", time=time, **viewer)


def _plain(event: Event) -> Any:
    return msgspec.json.decode(msgspec.json.encode(event), type=dict[str, Any])


def one_by_one(samples: list[Sample]) -> tuple[list[Any], list[tuple[int, str]]]:
    """What a request of its own for each event brings."""
    good, bad = [], []
    for index, sample in enumerate(samples):
        decoded = decode(body([sample]), "application/json", now=NOW, limits=Limits())
        good += [_plain(event) for event in decoded.events]
        bad += [(index, rejection.error) for rejection in decoded.rejected]
    return good, bad


def together(samples: list[Sample]) -> tuple[list[Any], list[tuple[int, str]]]:
    """What one request with all of them brings."""
    decoded = decode(body(samples), "application/json", now=NOW, limits=Limits())
    return [_plain(event) for event in decoded.events], [(found.index, found.error) for found in decoded.rejected]


def _one_odd_trade(odd: Sample, place: int) -> list[Sample]:
    usual = [trade(f"u{number}", None, side=("buy", "sell")[number % 2], quantity="0.5") for number in range(MANY)]
    return [*usual[:place], odd, *usual[place:]]


@settings(max_examples=200, deadline=None)
@given(odd=_trades(), place=st.integers(0, MANY))
@example(trade("t", None, quantity="0.000000001", exit_price="100.000000001"), 3)
@example(trade("t", None, quantity="999999999.999999999", exit_price="999999999.999999999", side="sell"), 0)
@example(trade("t", None, quantity="1000000000", exit_price="1000000000"), 0)
@example(trade("t", None, quantity="1e17", exit_price="1e17"), 9)
@example(trade("t", "12.50", fees="-0.5"), 9)
def test_one_odd_trade_among_many(odd: Sample, place: int) -> None:
    samples = _one_odd_trade(odd, place)
    assert together(samples) == one_by_one(samples)


@settings(max_examples=50, deadline=None)
@given(st.lists(_trades() | _others(), min_size=MANY, max_size=MANY))
def test_many_events_of_every_sort(samples: list[Sample]) -> None:
    assert together(samples) == one_by_one(samples)


def test_many_plain_trades_are_settled_together() -> None:
    samples = [trade(f"t{n}", None, side=("buy", "sell")[n % 2], exit_price=f"{90 + n}.25") for n in range(MANY)]
    good, bad = together(samples)
    assert bad == []
    assert [event["data"]["pnl"] for event in good[:3]] == [-9.75, 8.75, -7.75]


def test_a_currency_that_is_no_code_is_refused_among_many() -> None:
    samples = _one_odd_trade(trade("t", None, currency="USD\n"), 7)
    good, bad = together(samples)
    assert bad == [(7, "data.currency: expected a code of 2 to 12 capitals and digits, such as USD")]
    assert len(good) == MANY


def test_an_amount_that_is_no_text_is_refused_with_its_field() -> None:
    one = body([trade("t", None, quantity="x")]).replace(b'"x"', b'"\xff"')
    for sent, found in ((one, 1), (b"[" + b",".join([one[1:-1]] * MANY) + b"]", MANY)):
        decoded = decode(sent, "application/json", now=NOW, limits=Limits())
        assert {rejection.error.partition(":")[0] for rejection in decoded.rejected} == {"data.quantity"}
        assert len(decoded.rejected) == found
