"""A report as an Excel workbook: a summary, the charts, and a sheet for each table, its header frozen and its totals readable anywhere.

Totals are formulas with their value: who does not compute (a previewer, a library) reads the same as who does.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable, Iterator, Sequence
from decimal import Context, Decimal
from zoneinfo import ZoneInfo

import xlsxwriter
from xlsxwriter.utility import xl_range
from xlsxwriter.worksheet import Worksheet

from jobs.reports.excel_cells import (
    EXACT,
    Placed,
    Styles,
    cell_text,
    placed_columns,
    print_setup,
    sheet_name,
    shown_length,
    write_cell,
)
from jobs.reports.excel_charts import draw_charts, print_whole
from jobs.reports.excel_summary import write_summary
from jobs.reports.figures import column_header
from jobs.reports.report import NUMBERS, Report, ReportTable, TooManyRows, Value, check_report

MAX_ROWS = 1_000_000
"""Rows of a sheet; Excel itself ends at 1,048,576."""
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
        write_summary(summary, report, styles)
        for sheet, table in listed:
            for more in _listing(sheet, table, report, styles):
                written += more
                if tell is not None:
                    tell(written / every)
        if drawn is not None:
            data = book.add_worksheet(sheet_name("Chart data", taken))
            draw_charts(book, drawn, data, charts, styles.header)
            for sheet, title in ((drawn, "Charts"), (data, "Chart data")):
                print_setup(sheet, f"{report.title}: {title}", report, repeat=sheet is data)
            print_whole(drawn, len(charts))
    return target.getvalue()


def _listing(sheet: Worksheet, table: ReportTable, report: Report, styles: Styles) -> Iterator[int]:
    """Writes a table; gives how many rows were written since it last did."""
    placed = list(placed_columns(table))
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
            long = write_cell(sheet, row_number, at, one, value, formats[at], tz)
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
    print_setup(sheet, f"{report.title}: {table.title}", report, repeat=True)
    yield last % _TOLD


def _title(one: Placed, report: Report) -> str:
    title = column_header(one.column.title, one.column.kind, one.column.unit)
    if one.column.kind == "time":
        title += f" ({report.tz})"
    return title + EXACT if one.exact else title


def _total(sheet: Worksheet, row: int, at: int, one: Placed, table: ReportTable, styles: Styles, tz: ZoneInfo) -> int:
    """Writes a cell of the totals: a formula where the total is the sum of the rows, else the value."""
    assert table.totals is not None
    value = table.totals[one.place]
    kind = "text" if one.exact or isinstance(value, str) else one.column.kind
    look = styles.of(kind, one.column.unit, one.digits, total=True)
    if value is None:
        sheet.write_blank(row, at, None, look)
        return 0
    if one.exact or not isinstance(value, int | Decimal) or not _is_sum(table.rows, one.place, value):
        return write_cell(sheet, row, at, one, value, look, tz)
    factor = 86_400 if one.column.kind == "duration" else 1
    sheet.write_formula(row, at, f"=SUBTOTAL(109,{xl_range(1, at, row - 1, at)})", look, float(value) / factor)
    return shown_length(value, one.digits) + 1


def _is_sum(rows: Sequence[tuple[Value, ...]], place: int, total: int | Decimal) -> bool:
    """Whether a total is what the cells above it add up to: a table may list fewer rows than its total counts, or show a mean."""
    found = Decimal(0)
    for row in rows:
        value = row[place]
        if isinstance(value, int | Decimal):
            found = _EXACT.add(found, value)
    return bool(rows) and found == total
