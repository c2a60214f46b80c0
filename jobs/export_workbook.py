"""A table as a workbook of one sheet, written row by row, so that its size costs disk and no memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import xlsxwriter

from jobs.reports.excel import cell_text, sheet_name


def write_workbook(
    place: Path,
    title: str,
    columns: Sequence[tuple[str, Literal["time", "text", "number"]]],
    rows: Iterable[Sequence[Any]],
) -> None:
    """Writes it. Times are local ones; text stays text, whatever it begins with; null is an empty cell."""
    options = {
        "constant_memory": True,
        "tmpdir": str(place.parent),
        "strings_to_urls": False,
        "strings_to_formulas": False,
        "strings_to_numbers": False,
    }
    with xlsxwriter.Workbook(str(place), options) as book:
        book.set_properties({"title": title, "author": "Streamgauge", "created": dt.datetime(2000, 1, 1)})  # noqa: DTZ001
        sheet = book.add_worksheet(sheet_name(title, set()))
        header = book.add_format({"bold": True, "bottom": 1})
        looks = {
            "time": book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            "text": book.add_format({"num_format": "@"}),
            "number": None,
        }
        sheet.freeze_panes(1, 0)
        for at, (name, kind) in enumerate(columns):
            sheet.set_column(at, at, max(len(name) + 2, 20 if kind == "time" else 14))
        for at, (name, _) in enumerate(columns):
            sheet.write_string(0, at, cell_text(name), header)
        for number, row in enumerate(rows, start=1):
            for at, ((_, kind), value) in enumerate(zip(columns, row, strict=True)):
                if value is None:
                    continue
                if kind == "text":
                    sheet.write_string(number, at, cell_text(value), looks[kind])
                elif kind == "time" and value.year < 1900:  # Excel's days begin then
                    sheet.write_string(number, at, value.isoformat(sep=" "))
                elif kind == "time":
                    sheet.write_datetime(number, at, value, looks[kind])
                else:
                    sheet.write_number(number, at, value)
