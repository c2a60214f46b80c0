"""Real series of the Numenta Anomaly Benchmark: hourly averages and percentiles against duckdb over the file itself."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from tests.integration.api_service import Api

SERIES = Path(__file__).parents[1] / "data" / "nab" / "rds_cpu_utilization_cc0c53.csv"


async def test_a_series_agrees_with_duckdb_over_its_file(api: Api) -> None:
    with SERIES.open(newline="") as file:
        rows = list(csv.DictReader(file))
    await api.send(
        [
            api.system(
                SERIES.stem, datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC), value=float(row["value"])
            )
            for row in rows
        ]
    )
    with duckdb.connect() as duck:
        expected = duck.execute(
            "select date_trunc('hour', timestamp), count(*), avg(value), quantile_disc(value, 0.95)"
            " from read_csv(?) group by 1 order by 1",
            [str(SERIES)],
        ).fetchall()
    asked = {"from_": "2014-02-01", "to": "2014-03-01", "grain": "1h", "filter": "metric:value"}
    found = (await api.query("system_metrics", measures="count,avg,p95", **asked)).rows
    assert len(found) == len(expected) > 300
    for (time, count, average, p95), (hour, number, mean, quantile) in zip(found, expected, strict=True):
        assert (datetime.fromisoformat(time).replace(tzinfo=None), count) == (hour, number)
        assert abs(float(average) - mean) < 1e-9
        assert abs(float(p95) - quantile) <= 0.01 * quantile
