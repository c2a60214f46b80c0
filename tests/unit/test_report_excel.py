"""The workbook, read back by a second program: every cell is the figure of the JSON, and text stays text."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import zipfile
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from python_calamine import CalamineWorkbook

from jobs.reports.encode_json import to_json
from jobs.reports.excel import to_excel
from jobs.reports.excel_cells import DIGITS, EXACT, significant_digits
from jobs.reports.excel_cells import sheet_name as named
from jobs.reports.report import BadReport, Kpi, Report, ReportColumn, ReportTable, Section
from tests.reports_samples import HOSTILE, NOW, drawn_charts, listing, report, reports

BERLIN = ZoneInfo("Europe/Berlin")


def cells(made: Report) -> dict[str, list[list[Any]]]:
    """Every sheet's rows as calamine reads them."""
    book = CalamineWorkbook.from_filelike(io.BytesIO(to_excel(made)))
    return {name: book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in book.sheet_names}


def expected(kind: str, value: Any) -> Any:
    """A cell as it should be read, from the JSON's value."""
    if value is None:
        return ""
    if kind == "date":
        return dt.date.fromisoformat(value)
    if kind == "time":
        return dt.datetime.fromisoformat(value).astimezone(BERLIN).replace(tzinfo=None)
    if kind == "text":
        return value
    return Decimal(value)


def read(kind: str, cell: Any) -> Any:
    """A cell's value in the same terms; floats are compared by the 15 digits that a cell shows."""
    if cell == "" or kind == "text":
        return cell
    if kind == "duration":
        seconds = cell.total_seconds() if isinstance(cell, dt.timedelta) else float(cell) * 86_400
        return Decimal(round(seconds))
    if kind in ("date", "time"):
        if kind == "time" and not isinstance(cell, dt.datetime):
            return dt.datetime.combine(cell, dt.time())
        return cell
    return Decimal(f"{cell:.{DIGITS}g}")


def agrees(kind: str, cell: Any, value: Any) -> bool:
    """Whether a cell shows the JSON's value, as far as a cell can."""
    want = expected(kind, value)
    if isinstance(want, Decimal) and significant_digits(want) > DIGITS:
        return abs(read(kind, cell) - want) <= abs(want).scaleb(-14)
    return bool(read(kind, cell) == want)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(reports())
def test_cells_equal_the_json(made: Report) -> None:
    told = json.loads(to_json(made), parse_float=Decimal)
    sheets = cells(made)
    rows = iter(list(sheets.values())[1:])
    for section in told["sections"]:
        for table in section["tables"]:
            header, *found = next(rows)
            lines = table["rows"] + ([table["totals"]] if table["totals"] else [])
            at = 0
            for place, column in enumerate(table["columns"]):
                for cell, line in zip((row[at] for row in found), lines, strict=False):
                    assert agrees(column["kind"], cell, line[place]), (column, cell, line[place])
                at += 1
                if at < len(header) and str(header[at]).endswith(EXACT):
                    for row, line in zip(found, lines, strict=False):
                        text = str(row[at]).replace(",", "").replace("−", "-")
                        assert (text == "") == (line[place] is None)
                        assert not text or Decimal(text) == line[place]
                    at += 1
            assert at == len(header)
    summary = sheets["Summary"]
    shown = iter(row for row in summary if str(row[0]).startswith("Figure "))
    for section in told["sections"]:
        for kpi in section["kpis"]:
            row = next(shown)
            assert agrees(kpi["kind"], "" if row[1] == "–" else row[1], kpi["value"]), (kpi, row)
            if row[4]:
                assert Decimal(row[4].replace(",", "").replace("−", "-")) == kpi["value"]


def test_text_stays_text() -> None:
    table = ReportTable("names", "Names", (ReportColumn("name", "Name"),), [(name,) for name in HOSTILE])
    made = report((Section(None, "All", tables=(table,)),), organization="=1+1", summary="=cmd|'/c calc'!A0")
    sheets = cells(made)
    assert [row[0] for row in sheets["Names"][1:]] == list(HOSTILE)
    assert [sheets["Summary"][1][1], sheets["Summary"][7][0]] == ["=1+1", "=cmd|'/c calc'!A0"]
    xml = parts(made)
    assert not any("<f>" in text or "<hyperlink" in text for name, text in xml.items() if "worksheets/" in name)


def test_cjk_and_other_scripts_are_cells_like_any_other() -> None:
    names = ["日本語", "한국어", "العربية", "😀", "नमस्ते"]
    table = ReportTable("names", "Names", (ReportColumn("name", "Name"),), [(name,) for name in names])
    assert [row[0] for row in cells(report((Section(None, "All", tables=(table,)),)))["Names"][1:]] == names


def test_totals_read_right_in_every_program() -> None:
    made = report((Section(None, "All", tables=(listing(53),)),))
    total = cells(made)["By day"][-1]
    sheet = parts(made)["xl/worksheets/sheet2.xml"]
    assert total == ["Total", 1378.0, 244.86, ""]
    # The value stands beside the formula, for who does not compute.
    assert re.findall(r"<f>(SUBTOTAL\(109,[A-Z0-9:]+\))</f><v>([0-9.]+)</v>", sheet) == [
        ("SUBTOTAL(109,B2:B54)", "1378.0"),
        ("SUBTOTAL(109,C2:C54)", "244.86"),
    ]


def test_a_total_of_more_rows_than_are_listed_is_no_sum_of_them() -> None:
    columns = (ReportColumn("name", "Name"), ReportColumn("net", "Net", "money", "USD"))
    table = ReportTable("t", "Best", columns, [("a", Decimal(1))], ("Total", Decimal("7.5")), note="1 of 9.")
    made = report((Section(None, "All", tables=(table,)),))
    assert cells(made)["Best"][-1] == ["Total", 7.5]
    assert "<f>" not in parts(made)["xl/worksheets/sheet2.xml"]


def test_headers_are_frozen_money_has_its_format_and_nothing_is_hidden_by_hashes() -> None:
    made = report((Section("USD", "USD", tables=(listing(3),), charts=drawn_charts()),))
    found = parts(made)
    sheet = found["xl/worksheets/sheet3.xml"]
    assert 'topLeftCell="A2"' in sheet
    assert 'state="frozen"' in sheet
    assert "#,##0.00 [$USD]" in found["xl/styles.xml"]
    assert all(float(width) >= 7 for width in re.findall(r'width="([0-9.]+)"', sheet))
    assert sum(name.startswith("xl/charts/chart") for name in found) == 5
    book = CalamineWorkbook.from_filelike(io.BytesIO(to_excel(made)))
    assert book.sheet_names == ["Summary", "Charts", "USD By day", "Chart data"]


def test_the_same_report_gives_the_same_bytes() -> None:
    made = report((Section(None, "All", tables=(listing(5),), charts=drawn_charts()),))
    assert to_excel(made) == to_excel(made)


def test_sheet_names_are_what_excel_takes() -> None:
    taken: set[str] = set()
    names = [named(title, taken) for title in ("By/day", "by:DAY", "x" * 40, "x" * 40, "'", "History", "=1+1")]
    assert names == ["By day", "by DAY (2)", "x" * 31, "x" * 26 + " (2)", "Sheet", "History (2)", "=1+1"]


def test_a_report_that_does_not_fit_together_is_refused() -> None:
    columns = (ReportColumn("net", "Net", "money", "USD"),)
    for rows in ([(0.1,)], [(1, 2)], [(True,)], [(Decimal("NaN"),)], [("1",)]):
        with pytest.raises(BadReport, match="table t"):
            to_excel(report((Section(None, "All", tables=(ReportTable("t", "T", columns, rows),)),)))  # type: ignore[arg-type]
    with pytest.raises(BadReport, match="k"):
        to_json(report((Section(None, "All", (Kpi("k", "K", NOW, "date"),)),)))


def test_json_says_the_same_by_name() -> None:
    made = report(
        (
            Section(None, "All", (Kpi("trades", "Trades", 3, "count"),)),
            Section("USD", "USD", (Kpi("net", "Net", Decimal("0.30"), "money", "USD"),)),
        )
    )
    told = json.loads(to_json(made), parse_float=Decimal)
    assert told["metrics"] == {"trades": 3, "USD": {"net": Decimal("0.30")}}
    assert told["period"] == {"from": "2026-01-01", "to": "2026-02-22", "tz": "Europe/Berlin"}
    assert told["as_of"] == "2026-03-01T12:00:05Z"


def parts(made: Report) -> dict[str, str]:
    """The files inside the workbook."""
    with zipfile.ZipFile(io.BytesIO(to_excel(made))) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}
