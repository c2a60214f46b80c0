"""Many events by the column: fields, times and amounts, each held against what says the same of one."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from uuid import UUID

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.events.amounts import AmountColumn
from ingest.events.fields import fields, microseconds
from ingest.events.trade import Trade
from ingest.identity import HASH_BYTES, identities, keys
from tests.samples import accepted, sample_lists

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
AFTER_32_BITS = dt.datetime(2106, 2, 7, 6, 28, 16, tzinfo=dt.UTC)
ZONES = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
RECENT = st.integers(0, 2**32 - 1).map(lambda seconds: EPOCH + dt.timedelta(seconds=seconds))
ANY = st.datetimes(timezones=ZONES).filter(lambda moment: 1 < moment.year < 9999)

_PLAIN = r"[0-9]{1,18}(?:\.[0-9]{1,18})?"
ODD = st.text("0123456789.-+e \n", max_size=22)
DIGITS = st.from_regex(rf"\A-?{_PLAIN}\Z") | st.from_regex(r"\A[0-9]{8,20}(\.[0-9]{8,20})?\Z")


class Pair(msgspec.Struct):
    """Two fields."""

    left: int
    right: str


def test_no_trades_are_settled() -> None:
    assert Trade.settle([])


def test_fields_are_those_of_each_struct_in_their_order() -> None:
    assert fields([Pair(1, "a"), Pair(2, "b")]) == {"left": (1, 2), "right": ("a", "b")}
    assert fields([]) == {}


@given(st.lists(RECENT | ANY, max_size=40))
@example([EPOCH])
@example([EPOCH - dt.timedelta(microseconds=1), EPOCH])
@example([AFTER_32_BITS - dt.timedelta(seconds=1), AFTER_32_BITS, AFTER_32_BITS + dt.timedelta(microseconds=1)])
@example([EPOCH + dt.timedelta(seconds=number, microseconds=number % 2) for number in range(15)])
@example([EPOCH + dt.timedelta(seconds=number, microseconds=number % 2) for number in range(16)])
@example([EPOCH + dt.timedelta(seconds=number, microseconds=number % 2) for number in range(2**16)])
def test_the_microseconds_of_many_times_are_those_of_each(moments: list[dt.datetime]) -> None:
    assert microseconds(moments).tolist() == [(moment - EPOCH) // dt.timedelta(microseconds=1) for moment in moments]


@given(st.lists(ODD | DIGITS, max_size=8))
@example([])
@example([""])
@example(["1", "-"])
@example(["--1"])
@example(["1.2.3"])
@example(["0", "0.0"])
@example(["1\n2"])
def test_what_is_said_of_many_amounts_holds_for_each(texts: list[str]) -> None:
    column = AmountColumn([msgspec.Raw(text.encode()) for text in texts])

    def each(pattern: str) -> bool:
        return all(re.fullmatch(pattern, text) for line in texts for text in line.split("\n"))

    assert column.is_plain() == each("-?" + _PLAIN)
    assert column.is_unsigned() == each(_PLAIN)
    assert column.is_positive() == each(r"(?=[0.]*[1-9])" + _PLAIN)
    assert column.is_short == each(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


@given(samples=sample_lists(max_size=8, numbered=True))
def test_an_identity_is_one_hash_of_organization_kind_source_and_id(samples: list[object]) -> None:
    organization = UUID(int=7)
    for event in accepted(samples):
        start = organization.bytes + event.kind.encode() + b"\0"
        identity = f"{event.source}\0{event.id}".encode()
        key = identity if event.sequence is None else f"{event.source}\0\0".encode()
        assert identities(organization, event.kind, [event]) == [_blake(start + identity)]
        assert keys(organization, event.kind, [event]) == [_blake(start + key)]


def _blake(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=HASH_BYTES).digest()
