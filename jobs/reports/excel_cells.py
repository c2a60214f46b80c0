"""The cells of a report's workbook: their formats, what a value becomes, how many digits it keeps.

A cell holds a binary float of which programs show 15 digits. A number with more stands beside its exact text, in a column of its own.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from xlsxwriter.workbook import Workbook
from xlsxwriter.worksheet import Worksheet

from jobs.reports.figures import figure_text, places
from jobs.reports.layout import printable
from jobs.reports.report import NUMBERS, Kind, Report, ReportColumn, ReportTable, Value

DIGITS = 15
"""Significant digits that a cell holds and shows exactly."""
EXACT = " (exact)"
"""Ends the header of the column that has the exact texts of the one before."""

_DAY_ZERO = dt.datetime(1899, 12, 30)  # noqa: DTZ001 - Excel counts days of no zone
_LONGEST_TEXT = 32_767
_EXACT = Context(prec=1_000)
_CODE = re.compile(r"[A-Z0-9]{1,12}", re.ASCII).fullmatch


class Styles:
    """The workbook's cell formats, each made once."""

    def __init__(self, book: Workbook) -> None:
        self._book = book
        self._made: dict[tuple[Any, ...], Any] = {}
        self.title = book.add_format({"bold": True, "font_size": 16})
        self.heading = book.add_format({"bold": True, "font_size": 12, "font_color": "#2F5FD0"})
        self.muted = book.add_format({"font_color": "#4B5563"})
        self.muted_right = book.add_format({"font_color": "#4B5563", "align": "right"})
        self.muted_wrapped = book.add_format({"font_color": "#4B5563", "text_wrap": True, "valign": "top"})
        self.wrapped = book.add_format({"text_wrap": True, "valign": "top"})
        self.header = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
        self.unit = book.add_format({"indent": 1})
        self.header_unit = book.add_format({"bold": True, "bottom": 1, "valign": "top", "indent": 1})
        self.header_right = book.add_format(
            {"bold": True, "bottom": 1, "text_wrap": True, "valign": "top", "align": "right"}
        )

    def of(self, kind: Kind, unit: str | None, digits: int, *, total: bool = False) -> Any:
        """The format of a figure."""
        key = (kind, unit if kind == "money" else None, digits, total)
        if key not in self._made:
            look = {"num_format": number_format(kind, unit, digits)} | ({"bold": True, "top": 1} if total else {})
            if kind == "text":
                look["num_format"] = "@"
            if kind in ("date", "time"):
                look["align"] = "left"  # as their header is
            self._made[key] = self._book.add_format(look)
        return self._made[key]


def number_format(kind: Kind, unit: str | None, digits: int) -> str:
    """Excel's number format of a figure."""
    if kind == "date":
        return "yyyy-mm-dd"
    if kind == "time":
        return "yyyy-mm-dd hh:mm:ss"
    if kind == "duration":
        return "[h]:mm:ss"
    plain = "#,##0" + ("." + "0" * digits if digits else "")
    if kind == "money":
        shown = f"{plain} [${unit}]" if unit and _CODE(unit) else plain
        return f"{shown};[Red]-{shown}"
    return plain


def sheet_name(title: str, taken: set[str]) -> str:
    """A name that Excel takes: 31 characters, none of []:*?/\\, no apostrophe at its ends, and no second of that name."""
    plain = re.sub(r"[\[\]:*?/\\]", " ", printable(title)).strip(" '") or "Sheet"
    name = plain[:31].strip(" '")
    number = 1
    while name.casefold() in taken or name.casefold() == "history":
        number += 1
        name = f"{plain[: 27 - len(str(number))]} ({number})"
    taken.add(name.casefold())
    return name


def cell_text(text: str) -> str:
    """Text as a cell takes it; one that is longer than a cell ends with an ellipsis."""
    shape = printable(text)
    return shape if len(shape) <= _LONGEST_TEXT else shape[: _LONGEST_TEXT - 1] + "…"


def significant_digits(value: Value) -> int:
    """The digits of a number from its first to its last that is not 0."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return 0
    return len(Decimal(value).normalize(_EXACT).as_tuple().digits)


@dataclass(frozen=True)
class Placed:
    """A column of a sheet: which of the table's it shows, how, and whether as exact text."""

    place: int
    column: ReportColumn
    digits: int
    exact: bool


def placed_columns(table: ReportTable) -> Iterator[Placed]:
    """The columns of a table's sheet."""
    for place, column in enumerate(table.columns):
        digits = 0
        long = False
        if column.kind in NUMBERS:
            values = [row[place] for row in table.rows]
            if table.totals is not None:
                values.append(table.totals[place])
            digits = places(column.kind, column.unit, values)
            long = any(significant_digits(value) > DIGITS for value in values)
        yield Placed(place, column, min(digits, DIGITS), exact=False)
        if long:
            yield Placed(place, column, digits, exact=True)


def write_cell(sheet: Worksheet, row: int, at: int, one: Placed, value: Value, look: Any, tz: ZoneInfo) -> int:
    """Writes a cell; returns the characters that it shows at most."""
    if isinstance(value, str):
        text = cell_text(value)
        sheet.write_string(row, at, text, look)
        return len(text)
    if isinstance(value, dt.datetime):
        moment = value.astimezone(tz).replace(tzinfo=None) - _DAY_ZERO
        sheet.write_number(row, at, moment.days + (moment.seconds + moment.microseconds / 1e6) / 86_400, look)
        return 19
    if isinstance(value, dt.date):
        sheet.write_number(row, at, value.toordinal() - _DAY_ZERO.toordinal(), look)
        return 10
    assert value is not None
    if one.exact:
        text = figure_text(one.column.kind, value)
        sheet.write_string(row, at, text, look)
        return len(text)
    sheet.write_number(row, at, float(value) / (86_400 if one.column.kind == "duration" else 1), look)
    return shown_length(value, one.digits)


def shown_length(value: int | Decimal, digits: int) -> int:
    """About how many characters a number shows."""
    whole = max(1, value.adjusted() + 1) if isinstance(value, Decimal) else len(str(value))
    return whole + whole // 3 + digits + 1


def print_setup(sheet: Worksheet, title: str, report: Report, *, repeat: bool) -> None:
    """How a sheet is printed: A4, lying, as wide as the page; `repeat`: with its first row on every page."""
    sheet.set_paper(9)
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)
    heading = printable(f"{title}, {report.first} to {report.last}")[:180].replace("&", "&&")
    sheet.set_header(f"&L{heading}")
    sheet.set_footer("&RPage &P of &N")
    if repeat:
        sheet.repeat_rows(0)
