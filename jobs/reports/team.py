"""The report of teams: what each reported, side by side."""

from __future__ import annotations

from typing import Any

from aggregators.definitions.enterprise import ENTERPRISE_METRICS
from ingest.events.enterprise import UNITS
from jobs.reports.reading import Number, Source, as_measured, shown_as, titled
from jobs.reports.recommendations import beyond_limit, most_urgent_first, outliers
from jobs.reports.report import Chart, Kpi, Recommendation, ReportColumn, ReportTable, Section, Series
from jobs.reports.sections import Made
from storage.rollup_query import exact_sum

_MEANS = ("queries_per_second", "average_response_time", "error_rate", "average_accuracy", "uptime")
_SUMS = ("models_deployed", "inference_requests", "api_requests")
MOST_TEAMS = 20
"""Teams that a chart has room for; tables list them all."""


async def team(source: Source) -> Made:
    """Reads and builds it."""
    found = await source.rows(
        ENTERPRISE_METRICS, ("avg", "sum"), ("team_type", "metric"), filters={"metric": (*_MEANS, *_SUMS)}
    )
    teams: dict[str, dict[str, Number | None]] = {}
    for name, metric, mean, total in found:
        if name:
            teams.setdefault(name, {})[metric] = total if metric in _SUMS else as_measured(mean)
    metrics = (*_MEANS, *_SUMS)
    columns = (
        ReportColumn("team", "Team"),
        *(ReportColumn(metric, titled(metric), *shown_as(UNITS[metric])) for metric in metrics),
    )
    rows: list[tuple[Any, ...]] = [
        (name, *(figures.get(metric) for metric in metrics)) for name, figures in sorted(teams.items())
    ]
    advice: list[Recommendation] = []
    for metric in _MEANS:
        kind, unit = shown_as(UNITS[metric])
        values = {name: value for name, figures in teams.items() if (value := figures.get(metric)) is not None}
        for name, value in sorted(values.items()):
            advice += beyond_limit(metric, titled(metric), value, kind, unit, subject=name)
        advice += outliers(metric, titled(metric), values, kind, unit)
    sums = tuple(
        Kpi(metric, titled(metric), _sum(teams, metric), *shown_as(UNITS[metric]), "of all teams") for metric in _SUMS
    )
    return Made(
        "Team report",
        f"{len(teams)} teams reported in this period." if teams else "No team reported in this period.",
        (
            Section(
                None,
                "Teams",
                (Kpi("teams", "Teams", len(teams), "count"), *sums),
                tuple(_bars(teams, metric) for metric in ("average_response_time", "error_rate")),
                (ReportTable("teams", "By team", columns, rows),),
            ),
        ),
        most_urgent_first(advice),
        ("Rates, times and per cents are means over the period; models and requests are sums.",),
    )


def _sum(teams: dict[str, dict[str, Number | None]], metric: str) -> Number | None:
    values = [value for figures in teams.values() if (value := figures.get(metric)) is not None]
    return exact_sum(values) if values else None


def _bars(teams: dict[str, dict[str, Number | None]], metric: str) -> Chart:
    found = sorted(
        ((value, name) for name, figures in teams.items() if (value := figures.get(metric)) is not None), reverse=True
    )[:MOST_TEAMS]
    series = Series(titled(metric), tuple(value for value, _ in found))
    return Chart(
        metric, f"{titled(metric)} by team", "bars", tuple(name for _, name in found), (series,), UNITS[metric]
    )
