"""The first sheet of a report's workbook: whose it is, the figures, what is recommended, the notes."""

from __future__ import annotations

import math
from typing import Any
from zoneinfo import ZoneInfo

from xlsxwriter.worksheet import Worksheet

from jobs.reports.excel_cells import DIGITS, Placed, Styles, cell_text, print_setup, significant_digits, write_cell
from jobs.reports.figures import NOTHING, figure_text, places
from jobs.reports.recommendations import because
from jobs.reports.report import Report, ReportColumn

_WIDE, _LINE_HEIGHT = 150, 15.0
"""Characters in a line that goes over all columns, and its height in points."""


def write_summary(sheet: Worksheet, report: Report, styles: Styles) -> None:
    """Writes the sheet."""
    tz = ZoneInfo(report.tz)
    stamp = "%Y-%m-%d %H:%M:%S %Z"
    sheet.set_column(0, 0, 34)
    sheet.set_column(1, 1, 26)
    sheet.set_column(2, 2, 14)
    sheet.set_column(3, 4, 44)
    line = 0

    def put(text: str, style: Any, at: int = 0) -> None:
        sheet.write_string(line, at, cell_text(text), style)

    def put_wide(text: str, style: Any) -> None:
        """Over all columns, in as many lines as that takes: programs do not find the height of merged cells."""
        sheet.set_row(line, _LINE_HEIGHT * max(1, math.ceil(len(text) / _WIDE)))
        sheet.merge_range(line, 0, line, 4, cell_text(text), style)

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
    put_wide(report.summary, styles.wrapped)
    for section in report.sections:
        if not section.kpis:
            continue
        line += 2
        put(section.title, styles.heading)
        line += 1
        for at, title in enumerate(("Figure", "Value", "Unit", "Note", "Exact value")):
            put(title, {1: styles.header_right, 2: styles.header_unit}.get(at, styles.header), at)
        for kpi in section.kpis:
            line += 1
            put(kpi.title, None)
            digits = places(kpi.kind, kpi.unit, [kpi.value])
            column = Placed(0, ReportColumn(kpi.name, kpi.title, kpi.kind, kpi.unit), min(digits, DIGITS), exact=False)
            if kpi.value is None:
                put(NOTHING, styles.muted_right, 1)
            else:
                # The unit has a column of its own here.
                write_cell(sheet, line, 1, column, kpi.value, styles.of(kpi.kind, None, column.digits), tz)
            put("%" if kpi.kind == "percent" else kpi.unit or "", styles.unit, 2)
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
            put_wide(note, styles.muted_wrapped)
    sheet.hide_gridlines(2)
    print_setup(sheet, report.title, report, repeat=False)
