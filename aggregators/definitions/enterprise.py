"""`enterprise_metrics`: an organization's reported levels, by team and metric, exact."""

from __future__ import annotations

import polars as pl

from aggregators.definitions.quantiles import quantiles
from aggregators.frames import MONEY, long_metrics
from aggregators.rollup import Derived, Measure, Rollup

ENTERPRISE_METRICS = Rollup(
    name="enterprise_metrics",
    event="enterprise",
    grains=("1m", "15m", "1h", "1d"),
    keys=("team_type", "metric"),
    optional_keys=frozenset({"team_type"}),
    lookup=("metric", "team_type"),
    prepare=lambda raw: long_metrics(raw, MONEY),
    doc="Business and operational figures as reported. Exact decimals; without a team_type they are the whole organization's.",
    measures=(
        Measure("count", pl.len(), "bigint", "Reports."),
        Measure("sum", pl.col("value").sum(), "numeric", "Sum of the reported values."),
        Measure("min", pl.col("value").min(), "numeric", "Smallest reported value.", merge="min"),
        Measure("max", pl.col("value").max(), "numeric", "Largest reported value.", merge="max"),
        Measure("last", pl.col("value"), "numeric", "Last reported value by time, source and id.", merge="last"),
        Measure(
            "distribution",
            pl.col("value"),
            "bytea",
            "Log-scale bins that the percentiles are read from.",
            merge="bins",
            grains=("15m", "1d"),
            public=False,
        ),
    ),
    derived=(
        Derived(
            "avg",
            "round(round(sum, 18) / nullif(count, 0), 18)",
            ("sum", "count"),
            "Mean of the reports, to 18 decimals.",
        ),
    ),
    sketched=quantiles("distribution"),
)
