"""Amounts by the column: what holds for many of them, told in one pass over all, and the results of trades worked out at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import msgspec
import numpy as np
import polars as pl

from ingest.events.envelope import FRACTION_DIGITS, Amount

_MONEY = pl.Decimal(38, FRACTION_DIGITS)
_HALF = FRACTION_DIGITS // 2


def _longest_run(lines: bytes) -> int | None:
    """The most digits that stand before or after a point; None where a line is not digits, or digits, a point and digits.

    By the array, which takes a third of the time of a pattern.
    """
    if lines.translate(None, b"0123456789.\n"):
        return None
    if not lines:
        return 0
    characters = np.frombuffer(lines, np.uint8)
    ends = np.flatnonzero(characters < ord("0"))
    points = characters[ends] == ord(".")
    runs = np.diff(ends, prepend=-1) - 1
    if not runs.all() or (points[:-1] & points[1:]).any():
        return None
    return int(runs.max())


class AmountColumn:
    """The amounts of many events, a line each. They are values of JSON, in which no number holds a line break."""

    def __init__(self, amounts: Sequence[Amount]) -> None:
        self._text = b"\n".join([*amounts, b""])

    @cached_property
    def _unsigned_run(self) -> int | None:
        return _longest_run(self._text)

    @property
    def is_short(self) -> bool:
        """Whether none has a sign or more than 9 digits before or after the point."""
        return self._unsigned_run is not None and self._unsigned_run <= _HALF

    def is_plain(self) -> bool:
        """Whether each is in plain digits."""
        run = _longest_run(self._text.removeprefix(b"-").replace(b"\n-", b"\n"))
        return run is not None and run <= FRACTION_DIGITS

    def is_unsigned(self) -> bool:
        """Whether each is in plain digits, without a sign."""
        return self._unsigned_run is not None and self._unsigned_run <= FRACTION_DIGITS

    def is_positive(self) -> bool:
        """Whether each is in plain digits, without a sign and above 0."""
        significant = self._text.translate(None, b"0.")
        return self.is_unsigned() and not significant.startswith(b"\n") and b"\n\n" not in significant

    def numbers(self) -> pl.Series:
        """The numbers that plain digits stand for."""
        return pl.Series(self._text.decode().split("\n")[:-1], dtype=pl.String).cast(_MONEY)


def results(
    quantity: AmountColumn, entry: AmountColumn, exit_: AmountColumn, *, sells: pl.Series
) -> list[Amount] | None:
    """(exit - entry) x quantity of each trade, negated for a sell; None where one of them has too many digits to be exact here.

    With 9 digits before and 9 after the point a product has no more than 18 of each, so nothing is rounded.
    """
    if not (quantity.is_short and entry.is_short and exit_.is_short):
        return None
    moved = exit_.numbers() - entry.numbers()
    gained = moved.zip_with(~sells, -moved) * quantity.numbers()
    # Each has a point and 18 digits behind it; the zeros at the end say nothing.
    digits = gained.cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
    return list(map(msgspec.Raw, digits.cast(pl.Binary).to_list()))
