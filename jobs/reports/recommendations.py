"""What a report recommends: stated rules over its own figures, each with the figure that made it speak. docs/reports.md lists them.

Three kinds: a limit is passed, a figure got worse than in the period before, one of several is far from the others. A rule that lacks
its figure says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from statistics import median
from typing import Literal

from aggregators.statistics import rounded_share
from jobs.reports.figures import placed, with_unit
from jobs.reports.report import Kind, Recommendation

Number = int | Decimal
Bad = Literal["high", "low"]
"""Which side of a figure is the bad one."""

TREND_PERCENT = Decimal(20)
"""A figure that got worse by so many per cent of what it was."""
OUTLIER_TIMES = Decimal(2)
"""One of several whose figure is so many times the median of all (or so small a part of it)."""
OUTLIER_AMONG = 3
"""Of fewer none is called an outlier."""


@dataclass(frozen=True)
class Threshold:
    """When a figure calls for attention, and when it is urgent; `advice` is what to do then."""

    bad: Bad
    attention: Number
    urgent: Number
    advice: str


LIMITS: Mapping[str, Threshold] = {
    "error_rate": Threshold("high", 1, 5, "find the requests that fail most and their cause"),
    "response_time": Threshold("high", 500, 1000, "profile the slowest requests, or add capacity"),
    "average_response_time": Threshold("high", 500, 1000, "profile the slowest requests, or add capacity"),
    "network_latency": Threshold("high", 150, 300, "look at the route between the hosts"),
    "cpu_usage": Threshold("high", 80, 90, "spread the load, or add processors"),
    "gpu_usage": Threshold("high", 90, 97, "spread the load, or add accelerators"),
    "memory_usage": Threshold("high", 85, 95, "look for a leak, or add memory"),
    "disk_usage": Threshold("high", 85, 95, "free space, or add some"),
    "uptime": Threshold("low", Decimal("99.9"), 99, "look at what was down, and when"),
    "failed_deployments": Threshold("high", 15, 30, "look at what failed, and try it out before it is deployed"),
    "system_uptime": Threshold("low", Decimal("99.9"), 99, "look at what was down, and when"),
    "success_rate": Threshold("low", 99, 95, "find what fails most and its cause"),
    "model_accuracy": Threshold("low", 90, 80, "compare the models anew, or train them again"),
    "average_accuracy": Threshold("low", 90, 80, "compare the models anew, or train them again"),
    "customer_satisfaction": Threshold("low", 4, 3, "read what customers wrote"),
    "drawdown": Threshold("high", 10, 20, "review position sizes"),
    "profit_factor": Threshold("low", 1, Decimal("0.7"), "losses outweigh profits: review the strategies that lose"),
    "fees": Threshold("high", 20, 50, "compare brokers, or trade less often"),
    "losing_streak": Threshold("high", 5, 10, "pause and review"),
    "loss_concentration": Threshold("high", 50, 80, "limit what is put on one symbol"),
    "view_concentration": Threshold("high", 50, 80, "the feed hangs on one creator: give others more room"),
    "dislike_share": Threshold("high", 30, 50, "look at what viewers dislike"),
}
"""Every limit by its rule's name, in the unit of the figure."""

WORSE: Mapping[str, Bad] = {
    **{name: limit.bad for name, limit in LIMITS.items()},
    **dict.fromkeys(
        (
            *("processing_speed", "data_throughput", "queries_per_second", "active_users", "total_comparisons"),
            *("revenue_generated", "cost_savings", "green_score", "energy_efficiency", "views"),
        ),
        "low",
    ),
    **dict.fromkeys(("queue_length", "carbon_footprint", "energy_consumption"), "high"),
}
"""Which direction is the bad one, of what a trend is told of."""


def beyond_limit(
    rule: str, figure: str, value: Number | None, kind: Kind, unit: str | None = None, *, subject: str | None = None
) -> list[Recommendation]:
    """One recommendation where the figure passed its limit."""
    limit = LIMITS.get(rule)
    if limit is None or value is None or not _past(value, limit.attention, limit.bad):
        return []
    urgent = _past(value, limit.urgent, limit.bad)
    passed = limit.urgent if urgent else limit.attention
    side = "above" if limit.bad == "high" else "below"
    where = f" of {subject}" if subject is not None else ""
    text = f"{figure}{where} is {side} {with_unit(kind, passed, unit)}: {limit.advice}."
    return [Recommendation(rule, "urgent" if urgent else "attention", text, figure, value, kind, unit, passed, subject)]


def got_worse(rule: str, figure: str, value: Number | None, before: Number | None) -> list[Recommendation]:
    """One recommendation where the figure is worse than in the period before by at least a fifth of what it was."""
    bad = WORSE.get(rule)
    if bad is None or value is None or before is None or before <= 0:
        return []
    change = changed(value, before)
    if change is None or (change if bad == "high" else -change) < TREND_PERCENT:
        return []
    way = "rose" if bad == "high" else "fell"
    text = f"{figure} {way} by {with_unit('percent', change.copy_abs(), None)} against the period before: find out what changed."
    limit = TREND_PERCENT if bad == "high" else -TREND_PERCENT
    return [Recommendation(f"{rule}_trend", "attention", text, f"Change of {figure}", change, "percent", None, limit)]


def outliers(
    rule: str, figure: str, values: Mapping[str, Number], kind: Kind, unit: str | None = None
) -> list[Recommendation]:
    """One recommendation for each of at least three whose figure is twice the median, or half of it, on the bad side."""
    bad = WORSE.get(rule)
    if bad is None or len(values) < OUTLIER_AMONG:
        return []
    middle = median(Decimal(value) for value in values.values())
    if middle <= 0:
        return []
    limit = middle * OUTLIER_TIMES if bad == "high" else middle / OUTLIER_TIMES
    found = []
    for subject, value in sorted(values.items()):
        if _past(value, limit, bad):
            far = "more than twice" if bad == "high" else "less than half"
            text = f"{figure} of {subject} is {far} the median of the {len(values)}: compare it with the others."
            found.append(
                Recommendation(
                    f"{rule}_outlier", "attention", text, figure, value, kind, unit, placed(limit, 2), subject
                )
            )
    return found


def changed(value: Number, before: Number | None) -> Decimal | None:
    """The change in per cent of what was before, to two places; None where that was nothing."""
    share = rounded_share(Decimal(value) - Decimal(before), Decimal(before).copy_abs()) if before else None
    return None if share is None else placed(share, 2)


def most_urgent_first(found: Iterable[Recommendation], *, most: int = 12) -> tuple[Recommendation, ...]:
    """At most so many, the urgent ones first, else in the order in which they were found."""
    return tuple(sorted(found, key=lambda one: one.level != "urgent")[:most])


def because(one: Recommendation) -> str:
    """The figure that a recommendation comes from, and what it was held against."""
    said = f"{one.figure}: {with_unit(one.kind, one.value, one.unit)}"
    return said if one.threshold is None else f"{said} (limit {with_unit(one.kind, one.threshold, one.unit)})"


def _past(value: Number, limit: Number, bad: Bad) -> bool:
    return value > limit if bad == "high" else value < limit
