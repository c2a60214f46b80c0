"""How a table stands on a page: its size of type, upright or lying, and which columns share what room is left."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from jobs.reports.figures import column_header, figure_text, places
from jobs.reports.report import NUMBERS, Kind, ReportTable, Value

PORTRAIT, LANDSCAPE = 493.0, 740.0
"""Points between the margins of A4."""
_SIZES = (8.5, 8.0, 7.5, 7.0)
_SMALLEST = (8.5, 8.0, 7.5, 7.0, 6.5, 6.0, 5.5)
_INSET = 9.4
_WIDEST = 150.0
_WIDE = frozenset("mwMW@%—")
_LONG_WORD, _PIECE = 18, 9
_MAY_BREAK = "\u200b"


@dataclass(frozen=True)
class Layout:
    """A table as the template sets it. `widths` are the columns' shares of the page's width."""

    size: float
    wide: bool
    widths: list[float]
    header: list[str]
    rows: list[list[str]]
    totals: list[str] | None


def laid_out(table: ReportTable, tz: ZoneInfo) -> Layout:
    """The cells as text, times in the zone, and the largest type at which they fit."""
    digits = [
        places(column.kind, column.unit, _column(table, place)) if column.kind in NUMBERS else 0
        for place, column in enumerate(table.columns)
    ]
    kinds = [column.kind for column in table.columns]
    rows = [
        [_cell(kind, value, number, tz) for kind, value, number in zip(kinds, row, digits, strict=True)]
        for row in table.rows
    ]
    totals = None
    if table.totals is not None:
        totals = [
            "" if value is None else _cell(kind, value, number, tz)
            for kind, value, number in zip(kinds, table.totals, digits, strict=True)
        ]
    heads = [printable(column_header(column.title, column.kind, column.unit)) for column in table.columns]
    ems = [
        max((_ems(text) for text in {*cells, *head.split(" ")}), default=0.0)
        for cells, head in zip(_turned(rows, totals, len(kinds)), heads, strict=True)
    ]
    size, wide, fits = _chosen(ems)
    # A header stands on two lines where there is room for it; it never makes the type smaller.
    roomy = [max(em, 0.55 * _ems(head)) for em, head in zip(ems, heads, strict=True)]
    if _needed(roomy, size) <= (LANDSCAPE if wide else PORTRAIT):
        ems = roomy
    shares = [em * size + _INSET for em in ems]
    if not fits:
        # Texts are broken first; numbers only where there is no room for them either.
        numeric = [column.kind != "text" for column in table.columns]
        numbers = sum(share for share, is_number in zip(shares, numeric, strict=True) if is_number)
        broken = [not is_number or numbers > 0.8 * LANDSCAPE for is_number in numeric]
        left = max(1.0, LANDSCAPE - sum(s for s, b in zip(shares, broken, strict=True) if not b))
        wanted = sum(min(s, _WIDEST) for s, b in zip(shares, broken, strict=True) if b)
        shares = [min(s, _WIDEST) * left / wanted if b else s for s, b in zip(shares, broken, strict=True)]
        rows = [[_breakable(cell) if broken[n] else cell for n, cell in enumerate(row)] for row in rows]
        totals = totals and [_breakable(cell) if broken[n] else cell for n, cell in enumerate(totals)]
    return Layout(size, wide, shares, heads, rows, totals)


def _cell(kind: Kind, value: Value, digits: int, tz: ZoneInfo) -> str:
    local = value.astimezone(tz) if isinstance(value, dt.datetime) else value
    return printable(figure_text(kind, local, digits))


def printable(text: str) -> str:
    """The text without what has no shape: control characters are spaces, marks of direction and of format are nothing."""
    if text.isascii() and text.isprintable():
        return text
    kept = (" " if unicodedata.category(c) == "Cc" else c for c in text if unicodedata.category(c) != "Cf")
    return "".join(kept)


def _column(table: ReportTable, place: int) -> list[Value]:
    totals = [table.totals[place]] if table.totals is not None else []
    return [*(row[place] for row in table.rows), *totals]


def _turned(rows: list[list[str]], totals: list[str] | None, count: int) -> list[list[str]]:
    every = [*rows, totals] if totals is not None else rows
    return [list(column) for column in zip(*every, strict=True)] if every else [[] for _ in range(count)]


def _ems(text: str) -> float:
    """An upper bound of a text's width in ems; figures are tabular."""
    wide = sum(character in _WIDE for character in text)
    high = sum(character.isupper() for character in text)
    beyond = 0 if text.isascii() else sum(character > "\u00ff" for character in text)
    full = 0 if text.isascii() else sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return 0.5622 * len(text) + 0.34 * wide + 0.12 * (high + beyond) + 0.32 * full


def _needed(ems: Sequence[float], size: float) -> float:
    return sum(em * size + _INSET for em in ems)


def _chosen(ems: Sequence[float]) -> tuple[float, bool, bool]:
    """Size of type, whether the page lies, and whether all fits."""
    for size in _SIZES:
        if _needed(ems, size) <= PORTRAIT:
            return size, False, True
    for size in _SMALLEST:
        if _needed(ems, size) <= LANDSCAPE:
            return size, True, True
    return _SMALLEST[-1], True, False


def _breakable(text: str) -> str:
    """The text with places at which a long word may be broken, such as an id without a space."""
    if len(text) <= _LONG_WORD:
        return text
    return " ".join(
        _MAY_BREAK.join(word[at : at + _PIECE] for at in range(0, len(word), _PIECE))
        if len(word) > _LONG_WORD
        else word
        for word in text.split(" ")
    )
