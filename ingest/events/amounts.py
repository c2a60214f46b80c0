"""Amounts by the column: what holds for many of them, told in one pass over all, and the results of trades worked out at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

import msgspec
import polars as pl

from ingest.events.envelope import FRACTION_DIGITS, PLAIN, Amount

_MONEY = pl.Decimal(38, FRACTION_DIGITS)
_HALF = FRACTION_DIGITS // 2


def _lines(pattern: str) -> re.Pattern[bytes]:
    """Matches any number of lines of a pattern. Nothing is tried twice, so a long column costs what it is long."""
    return re.compile(f"(?>{pattern}\n)*+".encode())


_SIGNED = _lines("-?" + PLAIN)
_UNSIGNED = _lines(PLAIN)
_POSITIVE = _lines("(?=[0.]*[1-9])" + PLAIN)
_SHORT = _lines(rf"[0-9]{{1,{_HALF}}}(?:\.[0-9]{{1,{_HALF}}})?")


class AmountColumn:
    """The amounts of many events, a line each. One that holds a line break is no number, and matches nothing."""

    def __init__(self, amounts: Sequence[Amount]) -> None:
        self._text = b"\n".join([*amounts, b""])

    @cached_property
    def is_short(self) -> bool:
        """Whether none has a sign or more than 9 digits before or after the point."""
        return _SHORT.fullmatch(self._text) is not None

    def is_plain(self) -> bool:
        """Whether each is in plain digits."""
        return _SIGNED.fullmatch(self._text) is not None

    def is_unsigned(self) -> bool:
        """Whether each is in plain digits, without a sign."""
        return self.is_short or _UNSIGNED.fullmatch(self._text) is not None

    def is_positive(self) -> bool:
        """Whether each is in plain digits, without a sign and above 0."""
        return _POSITIVE.fullmatch(self._text) is not None

    def numbers(self) -> pl.Series:
        """The numbers that plain digits stand for."""
        return pl.Series(self._text.decode().split("\n")[:-1], dtype=pl.String).cast(_MONEY)


def results(
    quantity: AmountColumn, entry: AmountColumn, exit_: AmountColumn, *, sells: Sequence[bool]
) -> list[Amount] | None:
    """(exit - entry) x quantity of each trade, negated for a sell; None where one of them has too many digits to be exact here.

    With 9 digits before and 9 after the point a product has no more than 18 of each, so nothing is rounded.
    """
    if not (quantity.is_short and entry.is_short and exit_.is_short):
        return None
    moved = exit_.numbers() - entry.numbers()
    gained = moved.zip_with(~pl.Series(sells, dtype=pl.Boolean), -moved) * quantity.numbers()
    # Each has a point and 18 digits behind it; the zeros at the end say nothing.
    return [msgspec.Raw(text.rstrip("0").rstrip(".").encode()) for text in gained.cast(pl.String).to_list()]
