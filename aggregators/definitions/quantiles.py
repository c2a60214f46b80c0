"""The percentiles that every distribution offers under the same names."""

from __future__ import annotations

from aggregators.rollup import Sketched

_OFFERED = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def quantiles(measure: str, unit: str | None = None) -> tuple[Sketched, ...]:
    """p50 to p99 of a measure that keeps bins, each the smallest value whose cumulative count reaches it, within 1 %."""
    return tuple(
        Sketched(name, measure, f"{q:.0%} of the values are not above this; within 1 %.", q=q, unit=unit)
        for name, q in _OFFERED.items()
    )
