"""An export's rows as a workbook of one sheet, written by a process of its own, row by row: its size costs disk and no memory."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import xlsxwriter

from jobs.reports.excel_cells import EXACT, cell_text, sheet_name

Column = tuple[str, str, bool]
"""Its name, what it is (time, text, integer, decimal or float), and whether its exact text has a column beside it."""
_AT_ONCE = 500
_LOOK_S = 0.2


class WorkbookNotWritten(Exception):
    """The process that wrote it ended without it."""


def write_workbook(
    place: Path, title: str, columns: Sequence[Column], parts: Sequence[Path], tz: str, given_up: Callable[[], bool]
) -> None:
    """Writes the rows of some Arrow files, in turn, whose columns are these; it blocks for as long as that takes, and holds no lock.

    Times are instants, and shown as those of the zone `tz`. Raises WorkbookNotWritten, also where it was `given_up`.
    """
    child = multiprocessing.get_context("spawn").Process(
        target=_write, args=(place, title, list(columns), list(parts), tz), daemon=True
    )
    child.start()
    while child.is_alive():
        child.join(_LOOK_S)
        if given_up():
            child.kill()
            child.join()
    if child.exitcode != 0:
        raise WorkbookNotWritten(f"exit code {child.exitcode}")


def _write(place: Path, title: str, columns: list[Column], parts: list[Path], tz: str) -> None:
    os.nice(10)
    options = {
        "constant_memory": True,
        "tmpdir": str(place.parent),
        "strings_to_urls": False,
        "strings_to_formulas": False,
        "strings_to_numbers": False,
    }
    with xlsxwriter.Workbook(str(place), options) as book:
        book.set_properties({"title": title, "author": "Streamgauge"})
        sheet = book.add_worksheet(sheet_name(title, set()))
        header = book.add_format({"bold": True, "bottom": 1})
        time, text = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}), book.add_format({"num_format": "@"})
        sheet.freeze_panes(1, 0)
        titles = list(_titles(columns, tz))
        for at, name in enumerate(titles):
            sheet.set_column(at, at, max(len(name) + 2, 20 if name.startswith("time") else 14))
            sheet.write_string(0, at, cell_text(name), header)
        for number, row in enumerate(_rows(parts), start=1):
            for at, value in enumerate(_cells(columns, row, ZoneInfo(tz))):
                if isinstance(value, str):
                    sheet.write_string(number, at, cell_text(value), text)
                elif isinstance(value, dt.datetime):
                    sheet.write_datetime(number, at, value, time)
                elif value is not None:
                    sheet.write_number(number, at, value)


def _titles(columns: Sequence[Column], tz: str) -> Iterator[str]:
    for name, kind, exact in columns:
        yield f"{name} ({tz})" if kind == "time" else name
        if exact:
            yield name + EXACT


def _rows(parts: Sequence[Path]) -> Iterator[tuple[Any, ...]]:
    asker = multiprocessing.parent_process()
    for part in parts:
        for piece in pl.read_ipc(part).iter_slices(_AT_ONCE):
            if asker is not None and not asker.is_alive():
                # It was killed, so that it could not end this one; at once, since the way out of a workbook writes what there is.
                os._exit(1)
            yield from piece.rows()


def _cells(columns: Sequence[Column], row: Sequence[Any], tz: ZoneInfo) -> Iterator[str | float | dt.datetime | None]:
    for (_, kind, exact), value in zip(columns, row, strict=True):
        if value is None or kind == "text":
            yield value
        elif kind == "time":
            local = value.astimezone(tz)
            # Excel's days begin in 1900.
            yield local.replace(tzinfo=None) if local.year >= 1900 else local.isoformat()
            value = local.isoformat()
        else:
            yield float(value)
        if exact:
            yield None if value is None else str(value)
