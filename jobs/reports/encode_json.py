"""A report as JSON: exact numbers, and for every column its kind and unit."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from jobs.reports.report import Chart, Report, ReportTable, Section, check_report

_JSON = msgspec.json.Encoder(decimal_format="number")


def report_document(report: Report) -> dict[str, Any]:
    """The report as ModelCompare's document names its parts: `summary`, `metrics`, `recommendations`, and all the rest beside.

    `metrics` holds the figures of the whole by name, and those of a part (a currency) under its name.
    """
    metrics: dict[str, Any] = {}
    for section in report.sections:
        place = metrics if section.name is None else metrics.setdefault(section.name, {})
        place.update({kpi.name: kpi.value for kpi in section.kpis})
    return {
        "type": report.type,
        "title": report.title,
        "organization": report.organization,
        "period": {"from": report.first, "to": report.last, "tz": report.tz},
        "as_of": report.as_of.astimezone(dt.UTC),
        "generated_at": report.generated_at.astimezone(dt.UTC),
        "summary": report.summary,
        "metrics": metrics,
        "recommendations": [msgspec.structs.asdict(one) for one in report.recommendations],
        "sections": [_section(section) for section in report.sections],
        "footnotes": report.footnotes,
    }


def to_json(report: Report) -> bytes:
    """The document in UTF-8. Raises BadReport."""
    check_report(report)
    return _JSON.encode(report_document(report))


def _section(section: Section) -> dict[str, Any]:
    return {
        "name": section.name,
        "title": section.title,
        "kpis": [msgspec.structs.asdict(kpi) for kpi in section.kpis],
        "charts": [_chart(chart) for chart in section.charts],
        "tables": [_table(table) for table in section.tables],
    }


def _chart(chart: Chart) -> dict[str, Any]:
    return {
        "name": chart.name,
        "title": chart.title,
        "shape": chart.shape,
        "unit": chart.unit,
        "labels": chart.labels,
        "series": [{"title": series.title, "values": series.values} for series in chart.series],
    }


def _table(table: ReportTable) -> dict[str, Any]:
    return {
        "name": table.name,
        "title": table.title,
        "columns": [msgspec.structs.asdict(column) for column in table.columns],
        "rows": table.rows,
        "totals": table.totals,
        "note": table.note,
    }
