"""A report as PDF: tagged, archivable (PDF/A-2a, PDF/UA-1), its fonts embedded, the same bytes for the same report.

One compiler is for one thread. It keeps what it has laid out, which is what makes the second report fast; the pool watches its memory.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import font_roboto
import typst

from jobs.reports.charts import drawn, in_words
from jobs.reports.figures import column_header, with_unit
from jobs.reports.layout import laid_out, printable
from jobs.reports.recommendations import because
from jobs.reports.report import Chart, Kpi, Recommendation, Report, ReportTable, TooManyRows, check_report

MAX_ROWS = 10_000
"""Rows that a PDF lists at most, some 200 pages; Excel and JSON take more."""
_STANDARDS: list[Any] = ["a-2a", "ua-1"]
_ROBOTO = str(Path(font_roboto.__file__).parent / "files")
_FAMILY = "Roboto"
_TEMPLATE = Path(__file__).with_name("report.typ")
_NO_GLYPH = re.compile(r'the text [`"]*(.+?)[`"]* could not be displayed').search
_LONGEST_KPI = 14.0


class MissingGlyph(ValueError):
    """No font has a character of the report: the message names it. A folder with a font that has it can be given."""


class _Press:
    """What a process needs to print: the compiler with its fonts, made once."""

    def __init__(self, fonts: tuple[str, ...]) -> None:
        folders = [_ROBOTO, *fonts]
        more = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=list(fonts)).families()
        self.families = [_FAMILY, *more]
        self.compiler = typst.Compiler(str(_TEMPLATE), font_paths=folders, ignore_system_fonts=True)


@lru_cache(maxsize=1)
def _press(fonts: tuple[str, ...]) -> _Press:
    return _Press(fonts)


def to_pdf(report: Report, fonts: tuple[str, ...] = ()) -> bytes:
    """The report's pages. `fonts` are folders with more fonts, for scripts other than Latin, Greek and Cyrillic.

    Raises BadReport, MissingGlyph, TooManyRows.
    """
    check_report(report)
    if report.row_count() > MAX_ROWS:
        raise TooManyRows(
            f"a PDF lists at most {MAX_ROWS:,} rows, this report has {report.row_count():,}: ask for Excel or JSON"
        )
    press = _press(fonts)
    pictures: dict[str, str] = {}
    data = {"fonts": press.families, **_content(report, pictures, press.families)}
    try:
        made = press.compiler.compile(
            sys_inputs={"report": json.dumps(data, ensure_ascii=False), **pictures},
            format="pdf",
            pdf_standards=_STANDARDS,
            timestamp=int(report.generated_at.timestamp()),
        )
    except typst.TypstError as error:
        missing = _NO_GLYPH(str(error))
        if missing is None:
            raise
        codes = ", ".join(f"U+{ord(character):04X}" for character in missing[1][:8])
        raise MissingGlyph(
            f"no font of the report has the characters {missing[1][:64]!r} ({codes}): ask for Excel or JSON, or have whoever runs the"
            " service set STREAMGAUGE_REPORT_FONTS to a folder with one that has"
        ) from None
    assert isinstance(made, bytes)
    return made


def _content(report: Report, pictures: dict[str, str], families: list[str]) -> dict[str, Any]:
    tz = ZoneInfo(report.tz)
    stamp = "%Y-%m-%d %H:%M:%S %Z"
    return {
        "title": printable(report.title),
        "organization": printable(report.organization),
        "period": period(report),
        "summary": printable(report.summary),
        "freshness": f"As of {report.as_of.astimezone(tz):{stamp}}, made {report.generated_at.astimezone(tz):{stamp}}",
        "recommendations": [_recommendation(one) for one in report.recommendations],
        "sections": [
            {
                "title": printable(section.title),
                "columns": 4 if len(section.kpis) % 4 == 0 or len(section.kpis) > 6 else min(3, len(section.kpis)),
                "kpis": _cards(section.kpis, tz),
                "charts": [_picture(chart, pictures, families) for chart in section.charts],
                "tables": [_table(table, tz) for table in section.tables],
            }
            for section in report.sections
        ],
        "footnotes": [printable(note) for note in report.footnotes],
    }


def period(report: Report) -> str:
    """The days of a report in words, with their zone."""
    days = (
        f"{report.first:%Y-%m-%d}"
        if report.first == report.last
        else f"{report.first:%Y-%m-%d} to {report.last:%Y-%m-%d}"
    )
    return f"{days}, {report.tz}"


def _cards(kpis: tuple[Kpi, ...], tz: ZoneInfo) -> list[dict[str, Any]]:
    local = [kpi.value.astimezone(tz) if isinstance(kpi.value, dt.datetime) else kpi.value for kpi in kpis]
    texts = [printable(with_unit(kpi.kind, value, kpi.unit)) for kpi, value in zip(kpis, local, strict=True)]
    # One size for all cards of a row of figures, the one at which the longest stays on its line.
    size = max(4.0, min(_LONGEST_KPI, 170.0 / max((len(text) for text in texts), default=1)))
    return [
        {
            "title": printable(kpi.title),
            "value": text,
            "note": printable(kpi.note) if kpi.note else None,
            "size": size,
            "negative": kpi.kind == "money"
            and not isinstance(kpi.value, str)
            and kpi.value is not None
            and _below(kpi.value),
        }
        for kpi, text in zip(kpis, texts, strict=True)
    ]


def _below(value: Any) -> bool:
    return bool(value < 0)


def _recommendation(one: Recommendation) -> dict[str, Any]:
    return {
        "urgent": one.level == "urgent",
        "level": "Urgent." if one.level == "urgent" else "Attention.",
        "text": printable(one.text),
        "because": printable(because(one)),
    }


def _picture(chart: Chart, pictures: dict[str, str], families: list[str]) -> dict[str, Any]:
    has_figures = any(value is not None for series in chart.series for value in series.values)
    name = f"chart{len(pictures)}" if has_figures else None
    if name is not None:
        pictures[name] = drawn(_shown_chart(chart), families)
    return {
        "title": printable(column_header(chart.title, "number", chart.unit)),
        "svg": name,
        "alt": printable(in_words(chart)),
    }


def _shown_chart(chart: Chart) -> Chart:
    """The chart with labels that can be printed."""
    labels: Any = tuple(printable(label) if isinstance(label, str) else label for label in chart.labels)
    return Chart(chart.name, chart.title, chart.shape, labels, chart.series, chart.unit)


def _table(table: ReportTable, tz: ZoneInfo) -> dict[str, Any]:
    return {
        "title": printable(table.title),
        "note": printable(table.note) if table.note else None,
        "numeric": [column.kind not in ("text", "date", "time") for column in table.columns],
        **asdict(laid_out(table, tz)),
    }
