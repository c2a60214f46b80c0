"""A dashboard query over a year of per-minute data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, quantiles
from urllib.parse import urlencode
from uuid import UUID

import numpy as np
import polars as pl
import psycopg
from psycopg.sql import SQL, Identifier

from aggregators.definitions.system import SYSTEM_METRICS
from aggregators.engine import aggregate, columns
from aggregators.frames import TIME
from aggregators.sketch_bytes import write_sketches
from aggregators.sketch_columns import Sketches
from bench.reading import latencies
from bench.service import Service
from storage.rollup_sql import table

LIMIT_MS = 10.0
"""The median that the query must stay under."""

START = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
DAYS = 365
_CHUNK_DAYS = 30


@dataclass(frozen=True)
class YearQuery:
    """Milliseconds of the query at the median and at the 95th percentile, and the per-minute rows that it stands for."""

    median_ms: float
    p95_ms: float
    minutes: int


def year_query(service: Service, *, hosts: int, metrics: int, requests: int) -> YearQuery:
    """Fills a year of rollups of every grain, then asks for daily avg, max and p95 of one metric by host."""
    with psycopg.connect(service.database_url, autocommit=True, options="-c timezone=UTC") as connection:
        minutes = sum(_store(connection, frame) for frame in _frames(service.organization, hosts, metrics))
        for grain in SYSTEM_METRICS.grains:
            connection.execute(SQL("vacuum analyze {}").format(table(SYSTEM_METRICS, grain)))
    # Each question has another range, so that none is answered from a cache.
    paths = [(service.key, _path(number)) for number in range(requests + 5)]
    found = latencies(service, paths)[5:]
    return YearQuery(median(found), quantiles(found, n=20)[-1], minutes)


def _path(number: int) -> str:
    question = {
        "rollup": "system_metrics",
        "measures": "avg,max,p95",
        "group_by": "host",
        "filter": "metric:metric_0",
        "grain": "1d",
        "from": (START + dt.timedelta(days=number % 9)).date().isoformat(),
        "to": (START + dt.timedelta(days=DAYS - number // 9)).date().isoformat(),
    }
    return f"/api/v1/query?{urlencode(question)}"


def _frames(organization: UUID, hosts: int, metrics: int) -> Iterator[pl.DataFrame]:
    """A measurement a minute of every host, as raw frames of a month each."""
    random = np.random.default_rng(7)
    for day in range(0, DAYS, _CHUNK_DAYS):
        minutes = min(_CHUNK_DAYS, DAYS - day) * 1_440
        first = START + dt.timedelta(days=day)
        for host in range(hosts):
            names = [f"metric_{number}" for number in range(metrics)]
            yield _frame(random, organization, first, minutes, f"host-{host}", names)


def _frame(
    random: np.random.Generator, organization: UUID, first: dt.datetime, minutes: int, host: str, metrics: Sequence[str]
) -> pl.DataFrame:
    """So many minutes of one host."""
    times = pl.datetime_range(
        first, first + dt.timedelta(minutes=minutes - 1), "1m", time_unit="us", time_zone="UTC", eager=True
    )
    values = [pl.Series(random.gamma(4.0, 12.0, minutes).round(2)).cast(pl.String) for _ in metrics]
    pieces = [pl.concat_str(pl.lit(f'"{name}":'), pl.lit(value)) for name, value in zip(metrics, values, strict=True)]
    text = pl.concat_str(pl.lit("{"), pl.concat_str(pieces, separator=","), pl.lit("}"))
    return pl.select(
        pl.lit(str(organization)).alias("organization"),
        pl.lit(times.cast(TIME)).alias("time"),
        pl.lit(f"year/{host}").alias("source"),
        pl.int_range(minutes).cast(pl.String).alias("id"),
        pl.lit(None, dtype=pl.Int64).alias("sequence"),
        pl.lit(host).alias("host"),
        text.alias("metrics"),
    )


def store_month(
    connection: psycopg.Connection[tuple[object, ...]], organization: UUID, first: dt.datetime, metrics: Sequence[str]
) -> None:
    """Copies the rollups of 30 days of one host that measures these metrics every minute."""
    _store(connection, _frame(np.random.default_rng(7), organization, first, 30 * 1_440, "host-0", metrics))


def _store(connection: psycopg.Connection[tuple[object, ...]], frame: pl.DataFrame) -> int:
    """Copies what the engine makes of a frame into the rollup's tables; returns the rows of the finest grain."""
    (grains,) = aggregate(SYSTEM_METRICS, frame)
    for grain, rows in grains.items():
        written = rows.with_columns(
            _hex(rows[measure.name], measure.merge)
            for measure in SYSTEM_METRICS.measures_at(grain)
            if measure.pg_type == "bytea"
        )
        statement = SQL("copy {} ({}) from stdin (format csv, null '\\N')").format(
            table(SYSTEM_METRICS, grain), SQL(", ").join(Identifier(c) for c in columns(SYSTEM_METRICS, grain))
        )
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(written.write_csv(include_header=False, null_value="\\N", quote_style="non_numeric"))
    return grains[SYSTEM_METRICS.grains[0]].height


def _hex(sketches: pl.Series, merge: str) -> pl.Series:
    """A column of sketches as COPY takes bytes."""
    written, ends = write_sketches(Sketches.of_lists(sketches, merge), len(sketches))
    rows = [rf"\x{written[start:end].hex()}" for start, end in pairwise([0, *ends.tolist()])]
    return pl.Series(sketches.name, rows)
