"""The report of operations: whether hosts were up, how fast and how faultily they answered, by day and by host; what was deployed."""

from __future__ import annotations

from aggregators.definitions.system import SYSTEM_METRICS
from jobs.reports.deployed import deployed
from jobs.reports.levels import hosts_table, kpis_of, levels_table, lines_by_day, read_levels
from jobs.reports.reading import Source, as_measured
from jobs.reports.recommendations import most_urgent_first
from jobs.reports.report import Kpi, Recommendation, ReportColumn, ReportTable, Section
from jobs.reports.sections import Made

_PERCENTILES = ("p50", "p90", "p95", "p99")
_TITLES = {"p50": "Median", "p90": "90th pct.", "p95": "95th pct.", "p99": "99th pct."}
_OF_HOSTS = ("error_rate", "uptime", "response_time", "cpu_usage", "memory_usage", "disk_usage")


async def operations(source: Source) -> Made:
    """Reads and builds it."""
    hosts = await read_levels(source, of_hosts=True)
    latency = await source.rows(SYSTEM_METRICS, _PERCENTILES, filters={"metric": ("response_time",)})
    percentiles = [as_measured(value) for value in latency[0]] if latency else [None] * len(_PERCENTILES)
    listed, of_each = await hosts_table(source, _OF_HOSTS)
    deployments = await deployed(source)
    charts = (
        await lines_by_day(
            source,
            "latency",
            "Response time by day",
            "response_time",
            {name: _TITLES[name] for name in ("p50", "p95", "p99")},
            of_hosts=True,
        ),
        await lines_by_day(source, "errors", "Error rate by day", "error_rate", {"avg": "Mean"}, of_hosts=True),
    )
    advice: list[Recommendation] = [one for level in hosts.values() for one in level.advice()]
    kpis = (
        *kpis_of(hosts, ("uptime", "error_rate")),
        *(
            Kpi(f"response_time_{name}", f"Response time, {_TITLES[name].lower()}", value, "number", "ms")
            for name, value in zip(_PERCENTILES, percentiles, strict=True)
            if name != "p90"
        ),
        *kpis_of(hosts, ("cpu_usage", "memory_usage", "queue_length")),
    )
    reported = (
        f"{len(listed.rows)} hosts reported in this period." if listed.rows else "No host reported in this period."
    )
    return Made(
        "Operations report",
        " ".join(filter(None, (reported, deployments.sentence))),
        (
            Section(None, "Overview", kpis, charts),
            Section("details", "Details", tables=(await _by_day(source), listed, levels_table(hosts, {}))),
            deployments.section,
        ),
        most_urgent_first([*advice, *deployments.advice, *of_each]),
        (
            "Figures are of all measurements of all hosts. Percentiles are within 1 %.",
            "Deployments are those that started in these days, with the status that they had when the report was made.",
        ),
    )


async def _by_day(source: Source) -> ReportTable:
    """Percentiles of response times and the mean error rate, a row for each day that has some."""
    times = await source.rows(
        SYSTEM_METRICS, ("count", *_PERCENTILES), grain="1d", filters={"metric": ("response_time",)}
    )
    errors = dict(await source.rows(SYSTEM_METRICS, ("avg",), grain="1d", filters={"metric": ("error_rate",)}))
    found = {time: values for time, *values in times}
    columns = (
        ReportColumn("day", "Day", "date"),
        ReportColumn("measurements", "Measurements", "count"),
        *(ReportColumn(name, _TITLES[name], "number", "ms") for name in _PERCENTILES),
        ReportColumn("error_rate", "Error rate", "percent"),
    )
    nothing = [None] * (1 + len(_PERCENTILES))
    rows = []
    for day in sorted({*found, *errors}):
        count, *values = found.get(day, nothing)
        rows.append((source.span.date(day), count, *map(as_measured, values), as_measured(errors.get(day))))
    return ReportTable("by_day", "Response times by day", columns, rows)
