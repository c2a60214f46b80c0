"""A database whose sketches are arrays yet: the migration converts them where they stand, and nothing has to be filled again."""

from __future__ import annotations

import psycopg
from psycopg.sql import SQL, Identifier

from aggregators.definitions import ROLLUPS
from aggregators.definitions.api_requests import API_REQUESTS
from storage.migrate import migrate
from storage.sink import DatabaseSink
from tests.integration.stored import found_differences, organizations, rollup_rows, run, scalar
from tests.one_pass import differences, one_pass, pairs
from tests.samples import batches, enterprise, system, view

SKETCHES = [(rollup, grain, m) for rollup in ROLLUPS for grain in rollup.grains for m in rollup.measures_at(grain)]
SKETCHES = [(r, grain, m) for r, grain, m in SKETCHES if m.pg_type == "bytea" and r is not API_REQUESTS]
"""Those that there were as arrays: the requests' rollup is younger than the migration."""


def as_it_was(url: str) -> None:
    """Puts every sketch back into the array that it was, and takes the migration back."""
    with psycopg.connect(url, autocommit=True) as connection:
        for rollup, grain, measure in SKETCHES:
            name = f"rollup_{rollup.name}_{grain}"
            names = {"t": Identifier("store", name), "v": Identifier("app", name), "c": Identifier(measure.name)}
            connection.execute(SQL("drop view {v}").format(**names))
            connection.execute(SQL("alter table {t} add column before bigint[]").format(**names))
            for place, written in connection.execute(SQL("select ctid, {c} from {t}").format(**names)).fetchall():
                array = None if written is None else pairs(written)
                connection.execute(
                    SQL("update {t} set before = %s where ctid = %s::tid").format(**names), (array, place)
                )
            connection.execute(SQL("alter table {t} drop column {c}").format(**names))
            connection.execute(SQL("alter table {t} rename column before to {c}").format(**names))
            connection.execute(SQL("create view {v} as select * from {t}").format(**names))
    run(
        url,
        "create function store.bins_merge(a bigint[], b bigint[]) returns bigint[] language sql as 'select a'",
        "create function store.registers_merge(a bigint[], b bigint[]) returns bigint[] language sql as 'select a'",
        "delete from public.streamgauge_migration where number = 7",
    )


def test_stored_arrays_become_the_same_sketches(database_url: str) -> None:
    owners = organizations(database_url)
    values = [0.0, -0.0, 1e-200, -1e-200, 1e18, -1e18, *(1.01**n for n in range(200)), *[7.0] * 140]
    samples = [system(f"s{n}", value, organization=n % 2) for n, value in enumerate(values)]
    samples += [
        system("lone", -3.5, host="web-2"),
        enterprise("e", "-12.5"),
        enterprise("f", "0"),
        enterprise("g", organization=1),
    ]
    samples += [view(f"v{n}", user_id=f"u{n}") for n in range(300)]
    sink = DatabaseSink(database_url, ROLLUPS)
    sink.write(batches(samples, owners))
    sink.close()
    expected = rollup_rows(database_url, owners)
    as_it_was(database_url)
    assert migrate(database_url, ROLLUPS) == []
    assert rollup_rows(database_url, owners) == expected
    assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []
    assert found_differences(database_url) == []
    with psycopg.connect(database_url) as connection:
        connection.execute("select set_config('role', 'streamgauge_api', true)")
        connection.execute("select set_config('app.organization', %s, true)", (str(owners[0]),))
        for rollup, grain, _ in SKETCHES:
            view_name = Identifier("app", f"rollup_{rollup.name}_{grain}")
            seen = connection.execute(SQL("select distinct organization from {}").format(view_name)).fetchall()
            assert seen == [(owners[0],)]


def test_a_row_without_a_sketch_keeps_none(database_url: str) -> None:
    as_it_was(database_url)
    run(
        database_url,
        "insert into store.rollup_system_metrics_1d (organization, bucket, host, metric, distribution)"
        " values (gen_random_uuid(), now(), 'a', 'm', null), (gen_random_uuid(), now(), 'b', 'm', '{}')",
    )
    migrate(database_url, ROLLUPS)
    assert scalar(database_url, "select count(*) from store.rollup_system_metrics_1d where distribution is null") == 2
