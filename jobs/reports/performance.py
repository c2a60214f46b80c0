"""The report of performance: how well the service ran, as its hosts measured and the organization reported."""

from __future__ import annotations

from jobs.reports.levels import hosts_table, kpis_of, levels_table, lines_by_day, read_levels
from jobs.reports.reading import Source
from jobs.reports.recommendations import most_urgent_first
from jobs.reports.report import Recommendation, Section
from jobs.reports.sections import Made

_KPIS = ("system_uptime", "success_rate", "model_accuracy", "response_time", "processing_speed", "data_throughput")
_OF_HOSTS = ("cpu_usage", "memory_usage", "network_latency", "error_rate")


async def performance_report(source: Source) -> Made:
    """Reads and builds it."""
    hosts = await read_levels(source, of_hosts=True)
    whole = await read_levels(source, of_hosts=False)
    listed, of_each = await hosts_table(source, _OF_HOSTS)
    mean_and_p95 = {"avg": "Mean", "p95": "95th percentile"}
    charts = (
        await lines_by_day(
            source, "response_time", "Response time by day", "response_time", mean_and_p95, of_hosts=False
        ),
        await lines_by_day(
            source, "cpu_usage", "Processor use by day, all hosts", "cpu_usage", mean_and_p95, of_hosts=True
        ),
    )
    advice: list[Recommendation] = []
    for level in (*whole.values(), *hosts.values()):
        advice += level.advice()
    uptime, speed = whole.get("system_uptime"), whole.get("response_time")
    parts = [
        f"was up {uptime.mean} % of the time" if uptime is not None else None,
        f"answered in {speed.mean} ms on average" if speed is not None else None,
        f"ran on {len(listed.rows)} hosts" if listed.rows else None,
    ]
    said = ", ".join(part for part in parts if part)
    return Made(
        "Performance report",
        f"The service {said}." if said else "Nothing about performance was reported in this period.",
        (
            Section(None, "Overview", (*kpis_of(whole, _KPIS), *kpis_of(hosts, _OF_HOSTS[:2])), charts),
            Section("details", "Details", tables=(levels_table(hosts, whole), listed)),
        ),
        most_urgent_first([*advice, *of_each]),
        (
            "Means are of all measurements of the period, of all hosts together where hosts measure.",
            "Percentiles are within 1 %. Changes are against as many days before.",
        ),
    )
