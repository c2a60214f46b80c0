"""A report as an Excel workbook: a summary, the charts, and a sheet for each table, its header frozen and its totals readable anywhere.

A cell holds a binary float of which programs show 15 digits. A number with more stands beside its exact text, in a column of its own.
Totals are formulas with their value: who does not compute (a previewer, a library) reads the same as who does.
"""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import xlsxwriter
from xlsxwriter.utility import xl_range
from xlsxwriter.workbook import Workbook
from xlsxwriter.worksheet import Worksheet

from jobs.reports.excel_charts import draw_charts
from jobs.reports.figures import NOTHING, column_header, figure_text, places
from jobs.reports.layout import printable
from jobs.reports.recommendations import because
from jobs.reports.report import NUMBERS, Kind, Report, ReportColumn, ReportTable, TooManyRows, Value, check_report

MAX_ROWS = 1_000_000
"""Rows of a sheet; Excel itself ends at 1,048,576."""
DIGITS = 15
"""Significant digits that a cell holds and shows exactly."""
EXACT = " (exact)"
"""Ends the header of the column that has the exact texts of the one before."""

_DAY_ZERO = dt.datetime(1899, 12, 30)  # noqa: DTZ001 - Excel counts days of no zone
_LONGEST_TEXT = 32_767
_CODE = re.compile(r"[A-Z0-9]{1,12}", re.ASCII).fullmatch
_EXACT = Context(prec=1_000)
_WIDEST = 60
_TOLD = 500
"""Rows after which it is told how far it is: some hundredths of a second."""


def to_excel(report: Report, tell: Callable[[float], None] | None = None) -> bytes:
    """The workbook; `tell` is told now and then which part of its rows is written, 0 to 1. Raises BadReport, TooManyRows."""
    check_report(report)
    every, written = max(1, report.row_count()), 0
    for table in report.tables():
        if len(table.rows) > MAX_ROWS:
            raise TooManyRows(f"{table.title}: a sheet holds at most {MAX_ROWS:,} rows, these are {len(table.rows):,}")
    target = io.BytesIO()
    options = {
        "constant_memory": True,
        "strings_to_urls": False,
        "strings_to_formulas": False,
        "strings_to_numbers": False,
    }
    with xlsxwriter.Workbook(target, options) as book:
        made = report.generated_at.astimezone(dt.UTC).replace(tzinfo=None)
        book.set_properties(
            {"title": report.title, "author": "Streamgauge", "created": made, "comments": report.summary}
        )
        styles = Styles(book)
        taken: set[str] = set()
        summary = book.add_worksheet(sheet_name("Summary", taken))
        charts = [chart for section in report.sections for chart in section.charts if chart.labels]
        drawn = book.add_worksheet(sheet_name("Charts", taken)) if charts else None
        listed = []
        for section in report.sections:
            for table in section.tables:
                prefix = f"{section.name} " if section.name else ""
                listed.append((book.add_worksheet(sheet_name(prefix + table.title, taken)), table))
        _summary(summary, report, styles)
        for sheet, table in listed:
            for more in _listing(sheet, table, report, styles):
                written += more
                if tell is not None:
                    tell(written / every)
        if drawn is not None:
            draw_charts(book, drawn, book.add_worksheet(sheet_name("Chart data", taken)), charts, styles.header)
    return target.getvalue()


class Styles:
    """The workbook's cell formats, each made once."""

    def __init__(self, book: Workbook) -> None:
        self._book = book
        self._made: dict[tuple[Any, ...], Any] = {}
        self.title = book.add_format({"bold": True, "font_size": 16})
        self.heading = book.add_format({"bold": True, "font_size": 12, "font_color": "#2F5FD0"})
        self.muted = book.add_format({"font_color": "#4B5563"})
        self.wrapped = book.add_format({"text_wrap": True, "valign": "top"})
        self.header = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
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
    if kind == "money" and unit and _CODE(unit):
        return f"{plain} [${unit}];[Red]-{plain} [${unit}]"
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


def significant_digits(value: Value) -> int:
    """The digits of a number from its first to its last that is not 0."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return 0
    return len(Decimal(value).normalize(_EXACT).as_tuple().digits)


@dataclass(frozen=True)
class _Placed:
    """A column of a sheet: which of the table's it shows, how, and whether as exact text."""

    place: int
    column: ReportColumn
    digits: int
    exact: bool


def _placed(table: ReportTable) -> Iterator[_Placed]:
    for place, column in enumerate(table.columns):
        digits = 0
        long = False
        if column.kind in NUMBERS:
            values = [row[place] for row in table.rows]
            if table.totals is not None:
                values.append(table.totals[place])
            digits = places(column.kind, column.unit, values)
            long = any(significant_digits(value) > DIGITS for value in values)
        yield _Placed(place, column, min(digits, DIGITS), exact=False)
        if long:
            yield _Placed(place, column, digits, exact=True)


def _listing(sheet: Worksheet, table: ReportTable, report: Report, styles: Styles) -> Iterator[int]:
    """Writes a table; gives how many rows were written since it last did."""
    placed = list(_placed(table))
    tz = ZoneInfo(report.tz)
    titles = [_title(one, report) for one in placed]
    for at, one in enumerate(placed):
        right = one.column.kind in NUMBERS
        sheet.write_string(0, at, cell_text(titles[at]), styles.header_right if right else styles.header)
    formats = [styles.of("text" if one.exact else one.column.kind, one.column.unit, one.digits) for one in placed]
    widths = [max(map(len, title.split(" "))) for title in titles]
    for row_number, row in enumerate(table.rows, start=1):
        for at, one in enumerate(placed):
            value = row[one.place]
            if value is None:
                continue
            long = _write(sheet, row_number, at, one, value, formats[at], tz)
            widths[at] = max(widths[at], long)
        if row_number % _TOLD == 0:
            yield _TOLD
    last = len(table.rows)
    if table.totals is not None:
        for at, one in enumerate(placed):
            widths[at] = max(widths[at], _total(sheet, last + 1, at, one, table, styles, tz))
    for at, width in enumerate(widths):
        # A currency stands behind each amount; a filter's button takes room in the header.
        more = len(placed[at].column.unit or "") + 1 if placed[at].column.kind == "money" else 0
        sheet.set_column(at, at, min(_WIDEST, width + more + 3))
    sheet.freeze_panes(1, 0)
    if last:
        sheet.autofilter(0, 0, last, len(placed) - 1)
    _print_setup(sheet, f"{report.title}: {table.title}", report, repeat=True)
    yield last % _TOLD


def _title(one: _Placed, report: Report) -> str:
    title = column_header(one.column.title, one.column.kind, one.column.unit)
    if one.column.kind == "time":
        title += f" ({report.tz})"
    return title + EXACT if one.exact else title


def _write(sheet: Worksheet, row: int, at: int, one: _Placed, value: Value, look: Any, tz: ZoneInfo) -> int:
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
    return _length(value, one.digits)


def _length(value: int | Decimal, digits: int) -> int:
    """About how many characters a number shows."""
    whole = max(1, value.adjusted() + 1) if isinstance(value, Decimal) else len(str(value))
    return whole + whole // 3 + digits + 1


def _total(sheet: Worksheet, row: int, at: int, one: _Placed, table: ReportTable, styles: Styles, tz: ZoneInfo) -> int:
    """Writes a cell of the totals: a formula where the total is the sum of the rows, else the value."""
    assert table.totals is not None
    value = table.totals[one.place]
    kind = "text" if one.exact or isinstance(value, str) else one.column.kind
    look = styles.of(kind, one.column.unit, one.digits, total=True)
    if value is None:
        sheet.write_blank(row, at, None, look)
        return 0
    if one.exact or not isinstance(value, int | Decimal) or not _is_sum(table.rows, one.place, value):
        return _write(sheet, row, at, one, value, look, tz)
    factor = 86_400 if one.column.kind == "duration" else 1
    sheet.write_formula(row, at, f"=SUBTOTAL(109,{xl_range(1, at, row - 1, at)})", look, float(value) / factor)
    return _length(value, one.digits) + 1


def _is_sum(rows: Sequence[tuple[Value, ...]], place: int, total: int | Decimal) -> bool:
    """Whether a total is what the cells above it add up to: a table may list fewer rows than its total counts, or show a mean."""
    found = Decimal(0)
    for row in rows:
        value = row[place]
        if isinstance(value, int | Decimal):
            found = _EXACT.add(found, value)
    return bool(rows) and found == total


def _summary(sheet: Worksheet, report: Report, styles: Styles) -> None:
    tz = ZoneInfo(report.tz)
    stamp = "%Y-%m-%d %H:%M:%S %Z"
    sheet.set_column(0, 0, 34)
    sheet.set_column(1, 1, 26)
    sheet.set_column(2, 2, 14)
    sheet.set_column(3, 4, 44)
    line = 0

    def put(text: str, style: Any, at: int = 0) -> None:
        sheet.write_string(line, at, cell_text(text), style)

    put(report.title, styles.title)
    for name, value in (
        ("Organization", report.organization),
        ("Period", f"{report.first} to {report.last}"),
        ("Time zone", report.tz),
        ("As of", f"{report.as_of.astimezone(tz):{stamp}}"),
        ("Made", f"{report.generated_at.astimezone(tz):{stamp}}"),
    ):
        line += 1
        put(name, styles.muted)
        put(value, None, 1)
    line += 2
    put(report.summary, None)
    for section in report.sections:
        if not section.kpis:
            continue
        line += 2
        put(section.title, styles.heading)
        line += 1
        for at, title in enumerate(("Figure", "Value", "Unit", "Note", "Exact value")):
            put(title, styles.header_right if title == "Value" else styles.header, at)
        for kpi in section.kpis:
            line += 1
            put(kpi.title, None)
            digits = places(kpi.kind, kpi.unit, [kpi.value])
            column = _Placed(0, ReportColumn(kpi.name, kpi.title, kpi.kind, kpi.unit), min(digits, DIGITS), exact=False)
            if kpi.value is None:
                put(NOTHING, styles.muted, 1)
            else:
                _write(sheet, line, 1, column, kpi.value, styles.of(kpi.kind, kpi.unit, column.digits), tz)
            put("%" if kpi.kind == "percent" else kpi.unit or "", None, 2)
            put(kpi.note or "", styles.muted, 3)
            if significant_digits(kpi.value) > DIGITS:
                put(figure_text(kpi.kind, kpi.value), None, 4)
    if report.recommendations:
        line += 2
        put("Recommendations", styles.heading)
        line += 1
        for at, title in enumerate(("Recommendation", "Level", "Rule", "Because")):
            put(title, styles.header, at)
        for one in report.recommendations:
            line += 1
            put(one.text, styles.wrapped)
            put(one.level, styles.wrapped, 1)
            put(one.rule, styles.wrapped, 2)
            put(because(one), styles.wrapped, 3)
    notes = [*(f"{table.title}: {table.note}" for table in report.tables() if table.note), *report.footnotes]
    if notes:
        line += 2
        put("Notes", styles.heading)
        for note in notes:
            line += 1
            put(note, styles.muted)
    sheet.hide_gridlines(2)
    _print_setup(sheet, report.title, report, repeat=False)


def _print_setup(sheet: Worksheet, title: str, report: Report, *, repeat: bool) -> None:
    sheet.set_paper(9)
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)
    heading = printable(f"{title}, {report.first} to {report.last}")[:180].replace("&", "&&")
    sheet.set_header(f"&L{heading}")
    sheet.set_footer("&RPage &P of &N")
    if repeat:
        sheet.repeat_rows(0)


def cell_text(text: str) -> str:
    """Text as a cell takes it; one that is longer than a cell ends with an ellipsis."""
    shape = printable(text)
    return shape if len(shape) <= _LONGEST_TEXT else shape[: _LONGEST_TEXT - 1] + "…"
