"""`verify` finds every damage to every rollup and says where; `rebuild` mends it, and fills what was newly declared."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import polars as pl
import psycopg
import pytest
from psycopg.sql import SQL, Composed, Identifier

from aggregators.definitions import ROLLUPS
from aggregators.definitions.system import SYSTEM_METRICS
from aggregators.engine import columns
from aggregators.rollup import Measure, Rollup
from storage.migrate import migrate
from storage.recompute import rebuild, verify
from storage.rollup_sql import table
from storage.sink import DatabaseSink
from tests.integration.stored import found_differences, organizations, rollup_rows, run, scalar
from tests.one_pass import differences, one_pass
from tests.samples import START, Sample, answered, batches, enterprise, system, trade, view

TABLES = [(rollup, grain) for rollup in ROLLUPS for grain in rollup.grains]


def quiet(*_: object) -> None:
    """No progress."""


def twenty_of_each() -> list[Sample]:
    """Events with twenty different keys in every rollup."""
    samples: list[Sample] = []
    for n in range(20):
        name = f"{n:02}"
        samples += [
            system(name, n + 0.5, host=f"h{name}"),
            enterprise(name, f"{n}.1", team_type=f"t{name}"),
            trade(name, f"{n - 10}.000000000000000001", user_id=f"u{name}", fees="0.5"),
            view(name, "like", creator_id=f"c{name}", watch_ms=n),
            answered(f"r{name}", f"a{name} GET /x", n + 0.5, n + 1),
        ]
    return samples


def written(url: str, samples: list[Sample]) -> None:
    """The samples through a sink, for one organization."""
    sink = DatabaseSink(url, ROLLUPS)
    sink.write(batches(samples, organizations(url, 1)))
    sink.close()


def figures(rollup: Rollup, grain: str) -> list[str]:
    """The columns that are not keys."""
    return [name for name in columns(rollup, grain) if name not in ("organization", "bucket", *rollup.keys)]


def edited(url: str, rollup: Rollup, grain: str, figure: str, row: int) -> Composed:
    """The statement that changes one figure of one row a little."""
    pg_type = scalar(
        url,
        "select data_type from information_schema.columns where table_schema = 'store' and table_name = %s and column_name = %s",
        (f"rollup_{rollup.name}_{grain}", figure),
    )
    change = {
        "bytea": r"{c} || '\x0001'::bytea",
        "text": "{c} || '!'",
        "timestamp with time zone": "{c} + interval '1 microsecond'",
        "numeric": "{c} + 0.000000000000000001",
        "double precision": "{c} + 0.001",
        "bigint": "{c} + 1",
    }[pg_type]
    return SQL(
        "update {t} set {c} = " + change + " where ctid = (select ctid from {t} order by {key} offset {row} limit 1)"
    ).format(t=table(rollup, grain), c=Identifier(figure), key=SQL(", ").join(map(Identifier, rollup.keys)), row=row)


def test_every_edited_figure_is_found_and_mended(database_url: str) -> None:
    samples = twenty_of_each()
    written(database_url, samples)
    assert found_differences(database_url) == []
    with psycopg.connect(database_url, autocommit=True) as connection:
        for rollup, grain in TABLES:
            for row, figure in enumerate(figures(rollup, grain)):
                connection.execute(edited(database_url, rollup, grain, figure, row))
    found = found_differences(database_url)
    expected = [(f"{rollup.name} {grain}", {figure}) for rollup, grain in TABLES for figure in figures(rollup, grain)]
    assert sorted((one.table, sorted(one.stored or {})) for one in found) == sorted(
        (name, sorted(changed)) for name, changed in expected
    )
    assert all(one.recomputed and one.stored and one.recomputed.keys() == one.stored.keys() for one in found)
    assert rebuild(database_url, ROLLUPS, None, None, quiet) > 0
    assert found_differences(database_url) == []


@pytest.mark.parametrize("damage", ["missing", "surplus"])
def test_a_missing_and_a_surplus_row_are_found_in_every_rollup(database_url: str, damage: str) -> None:
    samples = twenty_of_each()
    written(database_url, samples)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for rollup, grain in TABLES:
            key = Identifier(rollup.keys[0])
            statement = (
                "delete from {t} where ctid = (select ctid from {t} order by {key} limit 1)"
                if damage == "missing"
                else "insert into {t} select (jsonb_populate_record(r, jsonb_build_object({name}, 'nobody'))).*"
                " from {t} r order by {key} limit 1"
            )
            connection.execute(SQL(statement).format(t=table(rollup, grain), key=key, name=rollup.keys[0]))
    found = found_differences(database_url)
    assert sorted(one.table for one in found) == sorted(f"{rollup.name} {grain}" for rollup, grain in TABLES)
    for one in found:
        assert (one.stored is None) == (damage == "missing")
        assert (one.recomputed is None) == (damage == "surplus")
    rebuild(database_url, ROLLUPS, None, None, quiet)
    assert found_differences(database_url) == []


def test_a_surplus_row_is_found_though_a_year_without_events_lies_between(database_url: str) -> None:
    written(database_url, [system("a")])
    run(
        database_url,
        "insert into store.rollup_system_metrics_1h"
        ' select (jsonb_populate_record(r, \'{"bucket": "2027-07-01T00:00:00Z"}\')).* from store.rollup_system_metrics_1h r',
    )
    (found,) = verify(database_url, [SYSTEM_METRICS], None, None, quiet)
    assert (found.keys["bucket"], found.recomputed) == (dt.datetime(2027, 7, 1, tzinfo=dt.UTC), None)


def test_a_range_is_verified_and_rebuilt_by_whole_days(database_url: str) -> None:
    days = [START + dt.timedelta(days=number) for number in range(4)]
    written(database_url, [system(f"d{day.day}", time=day.isoformat()) for day in days])
    run(database_url, "update store.rollup_system_metrics_1d set count = count + 1")
    assert len(list(verify(database_url, ROLLUPS, days[1], days[3], quiet))) == 3
    assert rebuild(database_url, [SYSTEM_METRICS], days[1], days[1] + dt.timedelta(minutes=1), quiet) == 1
    wrong = [found.keys["bucket"].day for found in found_differences(database_url)]
    assert wrong == [days[0].day, days[2].day, days[3].day]


def test_an_empty_database_has_nothing_to_find(database_url: str) -> None:
    assert found_differences(database_url) == []
    assert rebuild(database_url, ROLLUPS, None, None, quiet) == 0


def test_damaged_reactions_are_found_and_mended(database_url: str) -> None:
    written(database_url, [view(f"e{n}", "like", video_id=f"v{n}") for n in range(3)])
    run(
        database_url,
        "delete from store.video_reaction where video_id = 'v0'",
        "update store.video_reaction set reaction = 'dislike' where video_id = 'v1'",
        "update store.video_reaction set time = time - interval '1 microsecond' where video_id = 'v2'",
        "insert into store.video_reaction select organization, 'v3', viewer, creator_id, reaction, time, id, source"
        " from store.video_reaction where video_id = 'v1'",
    )
    assert [found.keys["video_id"] for found in found_differences(database_url)] == ["v0", "v1", "v2", "v3"]
    rebuild(database_url, ROLLUPS, None, None, quiet)
    assert found_differences(database_url) == []


def test_a_newly_declared_measure_is_unfilled_until_everything_was_rebuilt(database_url: str) -> None:
    owners = organizations(database_url, 1)
    samples = [system(f"e{n}", float(n), time=(START + dt.timedelta(hours=20 * n)).isoformat()) for n in range(4)]
    sink = DatabaseSink(database_url, ROLLUPS)
    sink.write(batches(samples[:3], owners))
    sink.close()
    squares = Measure("squares", (pl.col("value") ** 2).sum(), "double precision", "Sum of the squares.")
    changed = [replace(SYSTEM_METRICS, measures=(*SYSTEM_METRICS.measures, squares)), *ROLLUPS[1:]]
    assert migrate(database_url, changed) == ["system_metrics"]
    assert migrate(database_url, changed) == ["system_metrics"]
    sink = DatabaseSink(database_url, changed)
    sink.write(batches(samples[3:], owners))
    sink.close()
    assert {found.table.split()[0] for found in verify(database_url, changed, None, None, quiet)} == {"system_metrics"}
    rebuild(database_url, changed, START, START + dt.timedelta(hours=1), quiet)
    assert scalar(database_url, "select filled from store.rollup where name = 'system_metrics'") is False
    rebuild(database_url, changed, None, None, quiet)
    assert scalar(database_url, "select filled from store.rollup where name = 'system_metrics'") is True
    assert migrate(database_url, changed) == []
    assert list(verify(database_url, changed, None, None, quiet)) == []
    assert scalar(database_url, "select sum(squares) from store.rollup_system_metrics_1d") == 14.0


def test_a_rollup_declared_before_the_first_event_needs_no_filling(database_url: str) -> None:
    squares = Measure("squares", (pl.col("value") ** 2).sum(), "double precision", "Sum of the squares.")
    changed = [replace(SYSTEM_METRICS, measures=(*SYSTEM_METRICS.measures, squares))]
    assert migrate(database_url, changed) == []


def test_rebuilding_what_is_right_changes_nothing(database_url: str) -> None:
    owners = organizations(database_url, 1)
    samples = twenty_of_each()
    sink = DatabaseSink(database_url, ROLLUPS)
    sink.write(batches(samples, owners))
    sink.close()
    rebuild(database_url, ROLLUPS, None, None, quiet)
    assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []
