"""Figures that hosts and organizations report as levels: over the days, by day, against the days before, as a table and as lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from aggregators.definitions.enterprise import ENTERPRISE_METRICS
from aggregators.definitions.system import SYSTEM_METRICS
from jobs.reports.reading import WHOLE, Number, Source, as_measured, shown_as, titled, unit_of
from jobs.reports.recommendations import beyond_limit, changed, got_worse, outliers
from jobs.reports.report import Chart, Kpi, Recommendation, ReportColumn, ReportTable, Series

_MEASURES = ("avg", "min", "max", "p95", "last")
_UPPER = frozenset({"response_time", "average_response_time", "network_latency"})
"""What is judged by its 95th percentile: a mean hides the requests that are slow."""

HOSTS, ORGANIZATION = "hosts", "organization"


@dataclass(frozen=True)
class Level:
    """One metric over the days. `before` is its mean over as many days before."""

    metric: str
    of_hosts: bool
    mean: Number | None
    least: Number | None
    greatest: Number | None
    p95: Number | None
    last: Number | None
    before: Number | None

    @property
    def unit(self) -> str | None:
        """Its unit, where the metric is known."""
        return unit_of(self.metric, of_hosts=self.of_hosts)

    def kpi(self, *, last: bool = False) -> Kpi:
        """The figure by itself: its mean, or its last value."""
        kind, unit = shown_as(self.unit)
        value = self.last if last else self.mean
        change = None if value is None or last else changed(value, self.before)
        what = "last value" if last else "mean"
        note = what if change is None else f"{what}; {'+' if change > 0 else ''}{change} % against before"
        return Kpi(self.metric, titled(self.metric), value, kind, unit, note.replace("-", "−"))

    def advice(self) -> list[Recommendation]:
        """What the rules say of it."""
        kind, unit = shown_as(self.unit)
        upper = self.metric in _UPPER
        figure = f"{titled(self.metric)} ({'95th percentile' if upper else 'mean'})"
        judged = self.p95 if upper else self.mean
        return beyond_limit(self.metric, figure, judged, kind, unit) + got_worse(
            self.metric, f"{titled(self.metric)} (mean)", self.mean, self.before
        )


Levels = dict[str, Level]


async def read_levels(source: Source, *, of_hosts: bool) -> Levels:
    """Every metric of all hosts, or of the whole organization."""
    rollup = SYSTEM_METRICS if of_hosts else ENTERPRISE_METRICS
    filters = None if of_hosts else WHOLE
    found = await source.rows(rollup, _MEASURES, ("metric",), filters=filters)
    before = dict(await source.rows(rollup, ("avg",), ("metric",), filters=filters, before=True))
    return {
        metric: Level(
            metric,
            of_hosts,
            as_measured(mean),
            as_measured(least),
            as_measured(greatest),
            as_measured(p95),
            as_measured(last) if of_hosts else last,
            as_measured(before.get(metric)),
        )
        for metric, mean, least, greatest, p95, last in found
    }


def kpis_of(levels: Levels, metrics: tuple[str, ...], *, last: bool = False) -> tuple[Kpi, ...]:
    """The figures of these metrics; one that nobody sent is shown without a value."""
    return tuple(
        levels[metric].kpi(last=last)
        if metric in levels
        else Kpi(metric, titled(metric), None, *shown_as(unit_of(metric, of_hosts=False)))
        for metric in metrics
    )


def levels_table(hosts: Levels, organization: Levels) -> ReportTable:
    """Every metric with its statistics, those of the organization first."""
    rows: list[tuple[Any, ...]] = [
        (
            titled(level.metric),
            name,
            level.unit or "",
            level.mean,
            level.least,
            level.greatest,
            level.p95,
            level.last,
            None if level.mean is None else changed(level.mean, level.before),
        )
        for name, levels in ((ORGANIZATION, organization), (HOSTS, hosts))
        for level in levels.values()
    ]
    columns = (
        ReportColumn("metric", "Metric"),
        ReportColumn("reported_by", "Reported by"),
        ReportColumn("unit", "Unit"),
        ReportColumn("mean", "Mean", "number"),
        ReportColumn("least", "Least", "number"),
        ReportColumn("greatest", "Greatest", "number"),
        ReportColumn("p95", "95th pct.", "number"),
        ReportColumn("last", "Last", "number"),
        ReportColumn("change", "Change of mean", "percent"),
    )
    return ReportTable("metrics", "Every metric", columns, rows)


async def lines_by_day(
    source: Source, name: str, title: str, metric: str, measures: Mapping[str, str], *, of_hosts: bool
) -> Chart:
    """A line for each measure of a metric, by day; `measures` maps each to what it is called."""
    rollup = SYSTEM_METRICS if of_hosts else ENTERPRISE_METRICS
    filters = {"metric": (metric,)} | ({} if of_hosts else WHOLE)
    found = await source.rows(rollup, tuple(measures), grain="1d", filters=filters)
    by_day = {time: values for time, *values in found}
    days = source.span.days()
    return Chart(
        name,
        title,
        "line",
        tuple(source.span.date(day) for day in days),
        tuple(
            Series(called, tuple(as_measured(by_day[day][place]) if day in by_day else None for day in days))
            for place, called in enumerate(measures.values())
        ),
        unit_of(metric, of_hosts=of_hosts),
    )


MAX_HOSTS = 100


async def hosts_table(
    source: Source, metrics: tuple[str, ...], measure: str = "avg"
) -> tuple[ReportTable, list[Recommendation]]:
    """A row a host with the measure of some metrics, the highest first metric on top; and what the rules say of each host."""
    found = await source.rows(SYSTEM_METRICS, (measure,), ("host", "metric"), filters={"metric": metrics})
    hosts: dict[str, dict[str, Number | None]] = {}
    for host, metric, value in found:
        hosts.setdefault(host, {})[metric] = as_measured(value)
    order = sorted(hosts, key=lambda host: (-(hosts[host].get(metrics[0]) or Decimal(0)), host))
    rows = [(host, *(hosts[host].get(metric) for metric in metrics)) for host in order[:MAX_HOSTS]]
    columns = (
        ReportColumn("host", "Host"),
        *(ReportColumn(metric, titled(metric), *shown_as(unit_of(metric, of_hosts=True))) for metric in metrics),
    )
    note = (
        f"The first {MAX_HOSTS} of {len(order)} hosts by {titled(metrics[0]).lower()}."
        if len(order) > MAX_HOSTS
        else None
    )
    advice: list[Recommendation] = []
    for metric in metrics:
        kind, unit = shown_as(unit_of(metric, of_hosts=True))
        values = {host: value for host in order if (value := hosts[host].get(metric)) is not None}
        for host, value in values.items():
            advice += beyond_limit(metric, titled(metric), value, kind, unit, subject=host)
        advice += outliers(metric, titled(metric), values, kind, unit)
    return ReportTable("hosts", "By host", columns, rows, note=note), advice
