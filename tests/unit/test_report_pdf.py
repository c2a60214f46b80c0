"""The pages, read back by poppler: every figure of the JSON is on them, nothing is markup, and a character without a shape is an error."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from jobs.reports import charts
from jobs.reports.encode_json import to_json
from jobs.reports.figures import NOTHING, figure_text, places
from jobs.reports.layout import laid_out
from jobs.reports.pdf import MAX_ROWS, MissingGlyph, to_pdf
from jobs.reports.recommendations import beyond_limit
from jobs.reports.report import Report, ReportColumn, ReportTable, Section, TooManyRows
from tests.made_font import made_font
from tests.reports_samples import HOSTILE, drawn_charts, listing, report, reports
from tests.servers.fixtures import POPPLER, had
from tests.servers.missing import ServerMissingError

Read = Callable[[bytes], str]


@pytest.fixture(scope="session")
def text_of(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Reads the text of a PDF's pages."""

    def found() -> str:
        program = shutil.which("pdftotext")
        if program is None:
            raise ServerMissingError("it comes with the package poppler-utils")
        return program

    program = had(pytestconfig, POPPLER, found)
    folder = tmp_path_factory.mktemp("pdf")

    def read(pdf: bytes) -> str:
        path = folder / "report.pdf"
        path.write_bytes(pdf)
        done = subprocess.run([program, "-raw", str(path), "-"], capture_output=True, check=True)
        return done.stdout.decode()

    return read


def squeezed(text: str) -> str:
    """Text without its spaces and line breaks, which are the page's."""
    return re.sub(r"[\s\u200b\u00ad]+", "", text)


def numbers_of(made: Report) -> list[str]:
    """Every cell and figure as the pages should show it, computed from the JSON in the order of the document."""
    told = json.loads(to_json(made), parse_float=Decimal)
    found: list[str] = []
    for section, drawn in zip(told["sections"], made.sections, strict=True):
        found += [
            said(kpi["kind"], kpi["value"], places(kpi["kind"], kpi["unit"], [kpi["value"]])) for kpi in section["kpis"]
        ]
        wide = [laid_out(table, ZoneInfo(made.tz)).wide and bool(table.rows) for table in drawn.tables]
        # Tables that lie come behind those that stand.
        for _, table in sorted(zip(wide, section["tables"], strict=True), key=lambda pair: pair[0]):
            found += cells_of(table)
    return found


def cells_of(table: dict[str, Any]) -> list[str]:
    """The cells of a table, row by row."""
    lines = [*table["rows"], *([table["totals"]] if table["totals"] else [])]
    digits = [
        0
        if column["kind"] in ("text", "date", "time")
        else places(column["kind"], column["unit"], [line[n] for line in lines])
        for n, column in enumerate(table["columns"])
    ]
    return [
        said(column["kind"], value, places_)
        for number, line in enumerate(lines)
        for column, value, places_ in zip(table["columns"], line, digits, strict=True)
        if value is not None or number < len(table["rows"])
    ]


def said(kind: Any, value: Any, digits: int) -> str:
    """A value of the JSON as text, independently of the encoder for all but durations."""
    if value is None:
        return NOTHING
    if kind == "time":
        return dt.datetime.fromisoformat(value).astimezone(ZoneInfo("Europe/Berlin")).strftime("%Y-%m-%d %H:%M:%S")
    if kind == "duration":
        return figure_text("duration", value)
    if isinstance(value, str):
        return value
    sign, figures, exponent = Decimal(value).as_tuple()
    assert isinstance(exponent, int)
    whole = "".join(map(str, figures))
    whole = whole + "0" * exponent if exponent > 0 else whole.rjust(1 - exponent, "0")
    cut = len(whole) + min(exponent, 0)
    before, behind = whole[:cut], whole[cut:]
    behind = behind.rstrip("0").ljust(digits, "0") if len(behind.rstrip("0")) < digits else behind.rstrip("0")
    before = re.sub(r"(?<=\d)(?=(\d{3})+$)", ",", before.lstrip("0") or "0")
    negative = "−" if sign and any(figures) else ""
    return f"{negative}{before}{'.' + behind if behind else ''}"


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(made=reports())
def test_pages_equal_the_json(text_of: Read, made: Report) -> None:
    text = squeezed(text_of(to_pdf(made)))
    at = 0
    for figure in numbers_of(made):
        found = text.find(squeezed(figure), at)
        assert found >= 0, (figure, text[at:])
        at = found + len(squeezed(figure))


def test_names_are_shown_as_they_are(text_of: Read) -> None:
    table = ReportTable("names", "Names", (ReportColumn("name", "Name"),), [(name,) for name in HOSTILE])
    made = report((Section("#x", "#strong[Part]", tables=(table,), charts=drawn_charts()),), title="= <b> *Title*")
    text = text_of(to_pdf(made))
    for name in (*HOSTILE, "#strong[Part]", "= <b> *Title*"):
        assert squeezed(name) in squeezed(text)


def test_a_missing_glyph_is_an_error_that_names_it() -> None:
    columns = (ReportColumn("name", "Name"),)
    for name in ("日本", "😀", "한국어"):
        with pytest.raises(MissingGlyph, match=f"U\\+{ord(name[0]):04X}"):
            to_pdf(report((Section(None, "All", tables=(ReportTable("t", "T", columns, [(name,)]),)),)))
    # A chart's labels are text, too.
    chart = msgspec.structs.replace(drawn_charts()[3], labels=("a", "日", "c"))
    with pytest.raises(MissingGlyph, match="U\\+65E5"):
        to_pdf(report((Section(None, "All", charts=(chart,)),)))


@pytest.mark.parametrize("name", ["株式会社", "日本語の長い名前" * 5, "ordinary", "日a"])
def test_a_bars_name_of_wide_characters_is_not_cut(name: str) -> None:
    chart = msgspec.structs.replace(drawn_charts()[3], labels=(name, "b", "c"))
    svg = charts.drawn(chart, ("Roboto",))
    left = re.search(r'transform="translate\(([\d.]+),', svg)
    assert left is not None
    (shown,) = [
        text for text in re.findall(r'translate\(-5,[^>]*font-size="9px"[^>]*>([^<]*)<', svg) if text[0] == name[0]
    ]
    wide = sum(character > "\u2e80" for character in shown)
    # Names end five points left of the axis; a wide character is as wide as its type is high.
    assert float(left[1]) - 5 - 9 * wide >= 0


def test_what_has_no_shape_is_left_out_rather_than_refused(text_of: Read) -> None:
    columns = (ReportColumn("name", "Name"), ReportColumn("other", "Other"))
    name = "a\tb\nc\x01d\u202eevil\u200f\u00ade"
    made = report((Section(None, "All", tables=(ReportTable("t", "T", columns, [(name, "x")]),)),))
    assert "a b c devile x" in text_of(to_pdf(made))


def test_headers_are_repeated_and_pages_are_numbered(text_of: Read) -> None:
    made = report((Section("USD", "USD", tables=(listing(153),)),))
    pages = text_of(to_pdf(made)).split("\f")[:-1]
    assert len(pages) >= 3
    for number, page in enumerate(pages, start=1):
        assert f"Page {number} of {len(pages)}" in page
        assert "As of 2026-03-01 13:00:05 CET" in page
    assert all("Day Trades Net (USD) Name" in page for page in pages[:3])
    assert all("P&L statement" in page for page in pages)


def test_fifty_three_tables(text_of: Read) -> None:
    many = tuple(msgspec.structs.replace(listing(4, name=f"t{n}"), title=f"Table {n}") for n in range(53))
    text = text_of(to_pdf(report((Section(None, "All", tables=many),))))
    assert [int(n) for n in re.findall(r"^Table (\d+)$", text, re.M)] == list(range(53))
    # A title never stands alone at a page's end.
    for page in text.split("\f")[:-1]:
        lines = [line for line in page.splitlines() if line.strip()]
        assert not any(re.match(r"Table \d+$", line) for line in lines[-3:])


def test_an_empty_report_says_so(text_of: Read) -> None:
    text = text_of(to_pdf(report((Section(None, "All", charts=drawn_charts()[4:], tables=(listing(0),)),))))
    assert "No rows in this period." in text
    assert "Nothing to draw" in text
    assert to_pdf(report()).startswith(b"%PDF-")


def test_recommendations_show_their_figure(text_of: Read) -> None:
    found = tuple(beyond_limit("error_rate", "Error rate", Decimal("7.5"), "percent", subject="web-1"))
    text = text_of(to_pdf(report(recommendations=found)))
    assert "Urgent. Error rate of web-1 is above 5 %" in text.replace("\u00a0", " ")
    assert "Error rate: 7.5 % (limit 5 %)" in text.replace("\u00a0", " ")


def test_pages_are_tagged_archivable_and_carry_their_fonts() -> None:
    made = report((Section(None, "All", tables=(listing(3),), charts=drawn_charts()),))
    pdf = to_pdf(made)
    assert pdf == to_pdf(made)
    assert b"/MarkInfo" in pdf
    assert b"pdfaid" in pdf
    assert b"pdfuaid" in pdf
    fonts = re.findall(rb"/FontName\s*/([A-Z]{6}\+[A-Za-z-]+)", pdf)
    assert all(font[7:].startswith(b"Roboto") for font in fonts)
    assert b"/FontFile2" in pdf or b"/ObjStm" in pdf


def test_long_tables_are_for_other_formats() -> None:
    with pytest.raises(TooManyRows, match="10,000"):
        to_pdf(report((Section(None, "All", tables=(listing(MAX_ROWS + 1),)),)))


def test_wide_tables_lie_and_the_widest_break_rather_than_lose_a_digit(text_of: Read) -> None:
    value = Decimal("123456789012345678.123456789012345678")
    columns = tuple(ReportColumn(f"c{n}", f"Column {n}", "money", "USD") for n in range(9))
    table = ReportTable("t", "T", columns, [(value,) * 9])
    assert laid_out(table, ZoneInfo("UTC")).wide
    text = squeezed(text_of(to_pdf(report((Section(None, "All", tables=(table,)),)))))
    assert sum(text.count(digit) for digit in "789") >= 9 * 9


def test_fonts_of_a_folder_are_used_for_what_roboto_lacks(text_of: Read, tmp_path: Path) -> None:
    made_font(tmp_path / "within", "日経")
    fonts = (str(tmp_path),)
    table = ReportTable("names", "Names", (ReportColumn("name", "Name"),), [("日経",), ("ordinary",)])
    chart = msgspec.structs.replace(drawn_charts()[3], labels=("a", "日", "c"))
    pdf = to_pdf(report((Section(None, "経", tables=(table,), charts=(chart,)),), title="日 report"), fonts)
    text = text_of(pdf)
    for name in ("日経", "ordinary", "日 report"):
        assert name in text
    assert b"Ideographs" in pdf
    # What the folder's fonts lack, too, is still an error, and it names nothing else.
    table = msgspec.structs.replace(table, rows=[("日本",)])
    with pytest.raises(MissingGlyph, match=r"U\+672C") as error:
        to_pdf(report((Section(None, "All", tables=(table,)),)), fonts)
    assert "STREAMGAUGE_REPORT_FONTS" in str(error.value)
    # Without them the next report is as it was.
    with pytest.raises(MissingGlyph, match=r"U\+65E5"):
        to_pdf(report(title="日"))
