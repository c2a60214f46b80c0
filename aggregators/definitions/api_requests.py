"""`api_requests`: how many requests an API answered and how long that took, by process, method and route."""

from __future__ import annotations

import polars as pl

from aggregators.definitions.quantiles import quantiles
from aggregators.frames import long_metrics
from aggregators.rollup import Derived, Measure, Rollup

MOST_REQUESTS = 1_000_000
"""In one event. The counts of a bin must stay below 2**40, whatever an event says."""

_FIGURES = {"api.request_time": "ms", "api.requests": "requests", "api.errors": "errors"}


def _prepare(raw: pl.DataFrame) -> pl.DataFrame:
    """The `system` events that tell of answered requests: `api.requests` of them took about `api.request_time` ms each.

    Their host is `PROCESS METHOD ROUTE`. Events that cannot be true are no rows here.
    """
    told = raw.with_row_index("event")
    figures = (
        long_metrics(told.select("event", "metrics"), pl.Float64)
        .group_by("event")
        .agg(pl.col("value").filter(pl.col("metric") == metric).last().alias(name) for metric, name in _FIGURES.items())
    )
    found = told.join(figures, on="event", how="inner").with_columns(pl.col("errors").fill_null(0.0))
    place = pl.col("host").str.splitn(" ", 3).struct
    counts = pl.col("requests"), pl.col("errors")
    rows = found.with_columns(
        place.field("field_0").alias("host"),
        place.field("field_1").alias("method"),
        place.field("field_2").alias("route"),
    )
    return rows.filter(
        pl.col("route").is_not_null(),
        pl.col("ms") >= 0,
        pl.col("requests").is_between(1, MOST_REQUESTS),
        pl.col("errors").is_between(0, pl.col("requests")),
        *(count == count.floor() for count in counts),
    )


API_REQUESTS = Rollup(
    name="api_requests",
    event="system",
    grains=("1m", "15m", "1d"),
    keys=("host", "method", "route"),
    concerns=pl.col("metrics").str.contains('"api.request_time"', literal=True),
    prepare=_prepare,
    doc="Requests that an API answered, by its process (`host`), method and route: what Streamgauge measures of itself.",
    measures=(
        Measure("requests", pl.col("requests").sum(), "bigint", "Requests answered."),
        Measure("errors", pl.col("errors").sum(), "bigint", "Requests answered with a status of 500 or above."),
        Measure("total_ms", (pl.col("ms") * pl.col("requests")).sum(), "double precision", "Time taken.", unit="ms"),
        Measure("slowest", pl.col("ms").max(), "double precision", "Slowest answer.", merge="max", unit="ms"),
        Measure(
            "distribution",
            pl.col("ms"),
            "bytea",
            "Log-scale bins that the percentiles are read from.",
            merge="bins",
            public=False,
            weight=pl.col("requests"),
        ),
    ),
    derived=(
        Derived("avg", "total_ms / nullif(requests, 0)", ("total_ms", "requests"), "Mean time of an answer.", "ms"),
        Derived(
            "error_rate",
            "(100.0 * errors / nullif(requests, 0))::double precision",
            ("errors", "requests"),
            "Share of requests answered with a status of 500 or above.",
            "%",
        ),
    ),
    sketched=quantiles("distribution", "ms"),
)
