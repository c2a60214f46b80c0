"""The report of billing: the revenue and savings that the organization reports, and what it used."""

from __future__ import annotations

import datetime as dt
from typing import Any

from aggregators.definitions.enterprise import ENTERPRISE_METRICS
from jobs.reports.levels import kpis_of, lines_by_day, read_levels
from jobs.reports.reading import WHOLE, Source
from jobs.reports.recommendations import got_worse, most_urgent_first
from jobs.reports.report import Recommendation, ReportColumn, ReportTable, Section
from jobs.reports.sections import Made
from jobs.reports.usage import counted_by_day

_AMOUNTS = ("revenue_generated", "cost_savings")


async def billing(source: Source) -> Made:
    """Reads and builds it."""
    whole = await read_levels(source, of_hosts=False)
    counted, _, used = await counted_by_day(source)
    last = {"last": "Last value of the day"}
    charts = (
        await lines_by_day(source, "revenue", "Revenue as reported, by day", "revenue_generated", last, of_hosts=False),
        await lines_by_day(source, "savings", "Cost savings as reported, by day", "cost_savings", last, of_hosts=False),
    )
    advice: list[Recommendation] = []
    for metric in _AMOUNTS:
        level = whole.get(metric)
        if level is not None:
            advice += got_worse(metric, f"{level.kpi().title} (mean)", level.mean, level.before)
    revenue = whole.get("revenue_generated")
    said = (
        "No revenue was reported in this period." if revenue is None else f"Revenue stood at {revenue.last:,} at last."
    )
    return Made(
        "Billing report",
        said,
        (
            Section(None, "Amounts", kpis_of(whole, _AMOUNTS, last=True), charts, (await _amounts(source),)),
            Section("used", "What was used", counted, tables=(used,)),
        ),
        most_urgent_first(advice),
        (
            "Revenue and savings are levels as the organization reports them, in its own currency, which its events do not name.",
            "A day's amount is the last that was reported on it.",
        ),
    )


async def _amounts(source: Source) -> ReportTable:
    """The last reported amounts of each day that has some."""
    rows = await source.rows(
        ENTERPRISE_METRICS, ("last",), ("metric",), grain="1d", filters={"metric": _AMOUNTS, **WHOLE}
    )
    by_day: dict[dt.date, dict[str, Any]] = {}
    for time, metric, value in rows:
        by_day.setdefault(source.span.date(time), {})[metric] = value
    columns = (
        ReportColumn("day", "Day", "date"),
        ReportColumn("revenue_generated", "Revenue", "number"),
        ReportColumn("cost_savings", "Cost savings", "number"),
    )
    listed: list[tuple[Any, ...]] = [
        (day, *(found.get(metric) for metric in _AMOUNTS)) for day, found in by_day.items()
    ]
    return ReportTable(
        "amounts", "Amounts by day", columns, listed, note="Days on which none was reported are left out."
    )
