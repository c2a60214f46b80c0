"""The part of the operations report that tells of deployments: how many, how they ended, of which services, and the latest ones."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from aggregators.statistics import rounded_share
from jobs.reports.reading import Source, as_measured
from jobs.reports.recommendations import beyond_limit, changed
from jobs.reports.report import Chart, Kpi, Recommendation, ReportColumn, ReportTable, Section, Series
from storage.deployment_figures import DeploymentFigures, DeploymentsWithin, deployments_count, deployments_within
from storage.deployments import Deployment

MAX_LISTED = 100
"""Services, and latest deployments, that are listed."""
_MIN_OVER = 5
"""Of fewer deployments that are over nobody is told that too many fail."""
_STATUSES = {
    "succeeded": ("succeeded",),
    "failed": ("failed",),
    "rolled_back": ("rolled_back",),
    "in_progress": ("pending", "running"),
}
_TITLES = {"succeeded": "Succeeded", "failed": "Failed", "rolled_back": "Rolled back", "in_progress": "In progress"}


@dataclass(frozen=True)
class Deployed:
    """The section, a sentence for the summary (None where there is nothing to say), and what the rules say."""

    section: Section
    sentence: str | None
    advice: list[Recommendation]


async def deployed(source: Source) -> Deployed:
    """Reads and builds it. A deployment belongs to the day on which it started, with the status that it has now."""
    span = source.span
    found = await deployments_within(source.connection, span.start, span.end, days=span.days(), limit=MAX_LISTED)
    before = await deployments_count(source.connection, span.before, span.start) if found.ever and span.over else None
    whole = found.whole
    sentence = None
    if whole.deployments:
        sentence = f"Deployments: {whole.deployments:,}, of which {whole.succeeded:,} succeeded."
    return Deployed(
        Section(
            "deployments",
            "Deployments",
            _kpis(found, before),
            (_by_day(source, found),),
            (_by_service(found), _latest(source, found)),
        ),
        sentence,
        _advice(found),
    )


def _success(figures: DeploymentFigures) -> Any:
    return as_measured(rounded_share(figures.succeeded, figures.over))


def _seconds(value: Decimal | None) -> int | None:
    return None if value is None else int(value.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def _counts(figures: DeploymentFigures) -> tuple[int, ...]:
    return figures.succeeded, figures.failed, figures.rolled_back, figures.unfinished


def _kpis(found: DeploymentsWithin, before: int | None) -> tuple[Kpi, ...]:
    """Counts are null, not 0, for an organization that has never recorded a deployment."""
    whole = found.whole

    def known(count: int) -> int | None:
        return count if found.ever else None

    change = changed(whole.deployments, before) if before else None
    note = None if change is None else f"{'+' if change > 0 else ''}{change} % against before".replace("-", "−")
    return (
        Kpi("deployments", "Deployments", known(whole.deployments), "count", None, note),
        *(
            Kpi(name, title, known(count), "count")
            for (name, title), count in zip(_TITLES.items(), _counts(whole), strict=True)
        ),
        Kpi("success_rate", "Success rate", _success(whole), "percent", None, "of those that are over"),
        Kpi("mean_duration", "Mean duration", _seconds(whole.seconds), "duration", None, "of those that are over"),
        Kpi("services", "Services deployed", known(whole.services), "count"),
    )


def _by_day(source: Source, found: DeploymentsWithin) -> Chart:
    days = source.span.days()
    series = [
        Series(
            title,
            tuple(sum(found.by_day.get((day, one), 0) for one in _STATUSES[status]) for day in range(len(days))),
        )
        for status, title in _TITLES.items()
    ]
    shown = tuple(one for one in series if any(one.values))
    dates = tuple(source.span.date(day) for day in days) if shown else ()
    return Chart("deployments", "Deployments by day", "columns", dates, shown)


def _by_service(found: DeploymentsWithin) -> ReportTable:
    columns = (
        ReportColumn("service", "Service"),
        ReportColumn("deployments", "Deployments", "count"),
        *(ReportColumn(name, title, "count") for name, title in _TITLES.items()),
        ReportColumn("success_rate", "Success rate", "percent"),
        ReportColumn("mean_duration", "Mean duration", "duration"),
    )

    def row(called: str, one: DeploymentFigures) -> tuple[Any, ...]:
        return called, one.deployments, *_counts(one), _success(one), _seconds(one.seconds)

    rows = [row(one.service or "", one) for one in found.by_service]
    whole = found.whole
    note = (
        f"The {len(rows)} with the most deployments of {whole.services:,} services; the total is of all."
        if whole.services > len(rows)
        else None
    )
    totals = row("Total", whole) if rows else None
    return ReportTable("by_service", "By service", columns, rows, totals, note)


def _latest(source: Source, found: DeploymentsWithin) -> ReportTable:
    tz = source.span.tz
    columns = (
        ReportColumn("started_at", "Started", "time"),
        ReportColumn("service", "Service"),
        ReportColumn("version", "Version"),
        ReportColumn("environment", "Environment"),
        ReportColumn("status", "Status"),
        ReportColumn("finished_at", "Finished", "time"),
        ReportColumn("duration", "Duration", "duration"),
    )

    def row(one: Deployment) -> tuple[Any, ...]:
        ended = one.finished_at
        return (
            one.started_at.astimezone(tz),
            one.service,
            one.version,
            one.environment,
            one.status,
            None if ended is None else ended.astimezone(tz),
            None if ended is None else _took(ended - one.started_at),
        )

    rows = [row(one) for one in found.latest]
    count = found.whole.deployments
    note = f"The latest {len(rows)} of {count:,}." if count > len(rows) else None
    return ReportTable("latest", "Latest", columns, rows, note=note)


def _took(time: dt.timedelta) -> int | None:
    return _seconds(Decimal(time // dt.timedelta(microseconds=1)).scaleb(-6))


def _advice(found: DeploymentsWithin) -> list[Recommendation]:
    """What the rule says of all deployments, and of each service where there are several."""
    advice: list[Recommendation] = []
    for one in (found.whole, *(found.by_service if len(found.by_service) > 1 else ())):
        if one.over >= _MIN_OVER:
            share = as_measured(rounded_share(one.failed + one.rolled_back, one.over))
            figure = "Deployment failure rate"
            advice += beyond_limit("failed_deployments", figure, share, "percent", subject=one.service)
    return advice
