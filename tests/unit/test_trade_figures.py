"""A trade's pnl at acceptance: exact, against fractions, rounded half-even to 18 places, refused where 18 digits cannot hold it."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.events.decode import Limits, decode
from ingest.events.envelope import decimal
from ingest.events.trade import Trade
from tests.one_pass import half_even
from tests.samples import NOW, body, trade

_amounts = (
    st.integers(0, 10**36 - 1).map(lambda n: Decimal(f"{n}e-18"))
    | st.integers(0, 10**12).map(lambda n: Decimal(f"{n}e-18"))
    | st.integers(0, 10**18).map(lambda n: Decimal(f"{n}e-9"))
    | st.decimals(0, 1000, places=2)
)


def figures(side: str, quantity: Decimal, entry: Decimal, exit_: Decimal) -> Trade | str:
    """The accepted trade, or why it was refused."""
    sample = trade("t", None, side=side, quantity=quantity, entry_price=entry, exit_price=exit_)
    decoded = decode(body([sample]), "application/json", now=NOW, limits=Limits())
    if decoded.rejected:
        return decoded.rejected[0].error
    data = decoded.events[0].data
    assert isinstance(data, Trade)
    return data


@settings(max_examples=300, deadline=None)
@given(side=st.sampled_from(["buy", "sell"]), quantity=_amounts.filter(bool), entry=_amounts, exit_=_amounts)
@example("buy", Decimal("0.5"), Decimal(0), Decimal("0.000000000000000001"))
@example("buy", Decimal("0.5"), Decimal(0), Decimal("0.000000000000000003"))
@example("sell", Decimal("0.5"), Decimal(0), Decimal("0.000000000000000003"))
@example("buy", Decimal("999999999999999999.999999999999999999"), Decimal(0), Decimal(1))
@example("sell", Decimal("999999999999999999.999999999999999999"), Decimal(0), Decimal("1.000000000000000001"))
def test_pnl_is_exact_and_rounded_half_even(side: str, quantity: Decimal, entry: Decimal, exit_: Decimal) -> None:
    moved = Fraction(exit_) - Fraction(entry)
    expected = half_even((moved if side == "buy" else -moved) * Fraction(quantity))
    found = figures(side, quantity, entry, exit_)
    if abs(expected) >= 10**18:
        assert found == "data.pnl: has more than 18 digits before the point"
        return
    assert isinstance(found, Trade)
    assert isinstance(found.pnl, msgspec.Raw)
    assert Fraction(decimal(found.pnl)) == expected
    assert decimal(found.fees) == 0
    assert [Fraction(decimal(value)) for value in (found.quantity, found.entry_price, found.exit_price)] == [
        Fraction(value) for value in (quantity, entry, exit_)
    ]


@pytest.mark.parametrize(
    ("pnl", "kept"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("1e17", "100000000000000000"),
        ("1.5e-17", "0.000000000000000015"),
        ("1.000000000000000000000000", "1"),
        ("999999999999999999.999999999999999999", "999999999999999999.999999999999999999"),
        ("-999999999999999999.999999999999999999", "-999999999999999999.999999999999999999"),
    ],
)
def test_a_given_pnl_is_kept_to_the_last_digit(pnl: str, kept: str) -> None:
    for sent in (trade("t", pnl), trade("t", None, pnl=pnl), trade("t", "0", fees=pnl)):
        decoded = decode(body([sent]), "application/json", now=NOW, limits=Limits())
        data = decoded.events[0].data
        assert isinstance(data, Trade)
        value = data.fees if "fees" in sent.event["data"] else data.pnl
        assert isinstance(value, msgspec.Raw)
        assert Fraction(decimal(value)) == Fraction(kept)


@pytest.mark.parametrize("field", ["quantity", "entry_price", "exit_price", "fees", "pnl"])
@pytest.mark.parametrize(
    "value", ["1000000000000000000", "1e18", "0.0000000000000000001", "1e-19", "NaN", "sNaN", "Infinity", "1e999999999"]
)
def test_amounts_beyond_18_digits_are_refused_by_name(field: str, value: str) -> None:
    sent = trade("t", None)
    sent.event["data"][field] = value
    decoded = decode(body([sent]), "application/json", now=NOW, limits=Limits())
    assert decoded.rejected[0].error.startswith(f"data.{field}: expected a finite number with at most 18 digits")


def test_times_of_a_trade_may_be_equal_and_in_any_zone() -> None:
    at = dt.datetime(2026, 3, 30, 12, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=45))).isoformat()
    decoded = decode(body([trade("t", opened_at=at, closed_at=at)]), "application/json", now=NOW, limits=Limits())
    assert decoded.events[0].time == dt.datetime(2026, 3, 30, 6, 15, tzinfo=dt.UTC)
