"""The report of usage: how much was sent in and done, day by day; and the table of it that billing shows, too."""

from __future__ import annotations

from typing import Any

from aggregators.definitions.enterprise import ENTERPRISE_METRICS
from aggregators.definitions.system import SYSTEM_METRICS
from aggregators.definitions.trade import TRADE_PNL
from aggregators.definitions.view import VIDEO_ENGAGEMENT
from aggregators.rollup import Rollup
from jobs.reports.levels import kpis_of, levels_table, read_levels
from jobs.reports.reading import Source
from jobs.reports.recommendations import changed, got_worse, most_urgent_first
from jobs.reports.report import Chart, Kpi, Recommendation, ReportColumn, ReportTable, Section, Series
from jobs.reports.sections import Made

_COUNTED: tuple[tuple[str, str, Rollup, str], ...] = (
    ("measurements", "Measurements of hosts", SYSTEM_METRICS, "count"),
    ("figures", "Reported figures", ENTERPRISE_METRICS, "count"),
    ("trades", "Trades", TRADE_PNL, "trades"),
    ("actions", "Views and reactions", VIDEO_ENGAGEMENT, "events"),
)
"""What came in, by the rollup that counts it."""

_LEVELS = ("active_users", "total_comparisons", "models_compared", "models_uploaded")


async def usage(source: Source) -> Made:
    """Reads and builds it."""
    counted, chart, table = await counted_by_day(source)
    whole = await read_levels(source, of_hosts=False)
    advice: list[Recommendation] = []
    for metric in (*_LEVELS, "concurrent_comparisons"):
        level = whole.get(metric)
        if level is not None:
            advice += got_worse(metric, f"{level.kpi().title} (mean)", level.mean, level.before)
    total = sum(int(kpi.value) for kpi in counted if isinstance(kpi.value, int))
    kept = {metric: level for metric, level in whole.items() if metric in (*_LEVELS, "concurrent_comparisons")}
    return Made(
        "Usage report",
        f"{total:,} measurements, figures, trades and actions were counted in this period."
        if total
        else "Nothing was sent in this period.",
        (
            Section(None, "Overview", (*counted, *kpis_of(whole, _LEVELS, last=True)), (chart,)),
            Section("details", "Details", tables=(table, levels_table({}, kept))),
        ),
        most_urgent_first(advice),
        ("Measurements and figures are counted one by one: an event with eight metrics brings eight.",),
    )


async def counted_by_day(source: Source) -> tuple[tuple[Kpi, ...], Chart, ReportTable]:
    """What came in, in all and by day: the figures, a chart of stacked columns, and the table with its totals."""
    days = source.span.days()
    by_day: list[dict[Any, int]] = []
    kpis = []
    for name, title, rollup, measure in _COUNTED:
        found = {time: count or 0 for time, count in await source.rows(rollup, (measure,), grain="1d")}
        ((before,),) = await source.rows(rollup, (measure,), before=True) or [[None]]
        count = sum(found.values())
        change = changed(count, before) if before and source.span.over else None
        note = None if change is None else f"{'+' if change > 0 else ''}{change} % against before".replace("-", "−")
        kpis.append(Kpi(name, title, count, "count", None, note))
        by_day.append(found)
    counts = [[found.get(day, 0) for day in days] for found in by_day]
    dates = tuple(source.span.date(day) for day in days)
    shown = [place for place, kpi in enumerate(kpis) if kpi.value]
    chart = Chart(
        "counted",
        "Counted by day",
        "columns",
        dates if shown else (),
        tuple(Series(kpis[place].title, tuple(counts[place])) for place in shown),
    )
    columns = (ReportColumn("day", "Day", "date"), *(ReportColumn(kpi.name, kpi.title, "count") for kpi in kpis))
    rows = list(zip(dates, *counts, strict=True))
    return tuple(kpis), chart, ReportTable("by_day", "By day", columns, rows, ("Total", *(sum(c) for c in counts)))
