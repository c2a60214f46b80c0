"""`system_metrics`: what hosts measured, by host and metric."""

from __future__ import annotations

import polars as pl

from aggregators.definitions.quantiles import quantiles
from aggregators.frames import long_metrics
from aggregators.rollup import Derived, Measure, Rollup

SYSTEM_METRICS = Rollup(
    name="system_metrics",
    event="system",
    grains=("1m", "15m", "1h", "1d"),
    keys=("host", "metric"),
    lookup=("metric", "host"),
    prepare=lambda raw: long_metrics(raw, pl.Float64),
    doc="What hosts measured of themselves. A metric's unit is its own; the catalogue lists the known ones.",
    measures=(
        Measure("count", pl.len(), "bigint", "Measurements."),
        Measure("sum", pl.col("value").sum(), "double precision", "Sum of the measurements."),
        Measure("min", pl.col("value").min(), "double precision", "Smallest measurement.", merge="min"),
        Measure("max", pl.col("value").max(), "double precision", "Largest measurement.", merge="max"),
        Measure("last", pl.col("value"), "double precision", "Last measurement by time, source and id.", merge="last"),
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
    derived=(Derived("avg", "sum / nullif(count, 0)", ("sum", "count"), "Mean of the measurements."),),
    sketched=quantiles("distribution"),
)
