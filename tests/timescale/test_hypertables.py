"""Raw events and rollups in chunks: made on an empty database and of a full one, read by the chunk, dropped by the chunk."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from structlog.testing import capture_logs

from aggregators import calendar
from aggregators.definitions import ROLLUPS
from aggregators.definitions.system import SYSTEM_METRICS
from aggregators.definitions.trade import TRADE_PNL
from storage import migrate as migrating
from storage.archive import Archive
from storage.database import Database, connect
from storage.edition import create_extension, detect, edition
from storage.migrate import migrate
from storage.raw_days import drop_raw_days
from storage.recent_trades import compose_read
from storage.rollup_query import Question, compose
from storage.sink import DatabaseSink
from tests.integration.stored import (
    found_differences,
    organizations,
    raw_identities,
    reaction_rows,
    rollup_rows,
    rows,
    run,
)
from tests.integration.test_retention import archive
from tests.one_pass import differences, one_pass, reactions
from tests.samples import START, Sample, batches, enterprise, system, trade, view

CHUNKS = (
    "select hypertable_name, time_interval from timescaledb_information.dimensions where hypertable_schema = 'store'"
)


def mixture(days: int, each: int = 3) -> list[Sample]:
    """Events of every kind on each of so many days."""
    samples: list[Sample] = []
    for day in range(days):
        time = START + dt.timedelta(days=day)
        for n in range(each):
            name = f"{day}-{n}"
            samples += [
                system(name, float(n), time=time.isoformat()),
                replace(enterprise(name, str(n))).again(time=time.isoformat()),
                trade(name, str(n), closed_at=time.isoformat(), opened_at=time.isoformat()),
                view(name, "like", time=time, user_id=f"u{n}"),
            ]
    return samples


def written(url: str, samples: list[Sample], owners: list[object]) -> int:
    """Counts the samples; returns how many were new."""
    sink = DatabaseSink(url, ROLLUPS)
    try:
        return sink.write(batches(samples, owners)).counted  # type: ignore[arg-type]
    finally:
        sink.close()


def test_an_empty_database_gets_the_extension_and_a_hypertable_for_all_that_is_read_by_time(
    empty_database: str,
) -> None:
    assert migrate(empty_database, ROLLUPS) == []
    with connect(empty_database, name="test") as connection:
        found = detect(connection)
    # Debian's packages are the Apache edition, the official container is the community edition.
    assert (found.name, found.hypertables, found.compression) in (("apache", True, False), ("community", True, True))
    assert found.at_least(2, 13)
    assert not found.at_least(99)
    day = dt.timedelta(days=1)
    widths = {"1m": day, "15m": 30 * day, "1h": 90 * day, "1d": 1_440 * day}
    expected = {f"event_{kind}": day for kind in ("system", "enterprise", "trade", "view")}
    expected |= {f"rollup_{rollup.name}_{grain}": widths[grain] for rollup in ROLLUPS for grain in rollup.grains}
    assert dict(rows(empty_database, CHUNKS)) == expected


async def test_the_edition_can_be_shown(database_url: str) -> None:
    database = Database(database_url)
    await database.open()
    async with database.owner() as connection:
        found = await edition(connection)
    await database.close()
    with connect(database_url, name="test") as other:
        assert detect(other) == found
    (version,) = rows(
        database_url,
        "select extversion, current_setting('server_version') from pg_extension where extname = 'timescaledb'",
    )
    assert (found.timescaledb, found.postgresql) == version


def test_a_role_that_may_not_create_the_extension_has_a_plain_database(empty_database: str) -> None:
    role = f"nobody_{os.getpid()}"
    run(empty_database, f"create role {role} login password 'nobody'")
    try:
        parts = urlsplit(empty_database)
        url = urlunsplit(parts._replace(netloc=f"{role}:nobody@{parts.netloc.rpartition('@')[2]}"))
        with capture_logs() as logs:
            create_extension(url)
        assert [log["event"] for log in logs] == ["timescaledb_not_created"]
        with connect(url, name="test") as connection:
            assert detect(connection).name == "plain"
    finally:
        run(empty_database, f"drop role {role}")


def test_a_plain_database_that_gets_the_extension_keeps_every_row(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(migrating, "create_extension", lambda url: None)
        migrate(empty_database, ROLLUPS)
    owners = organizations(empty_database, 1)
    samples = mixture(days=12)
    assert written(empty_database, samples[:72], owners) == 72
    with connect(empty_database, name="test") as connection:
        assert detect(connection).name == "plain"
    stored = rollup_rows(empty_database, owners), raw_identities(empty_database, owners)

    assert migrate(empty_database, ROLLUPS) == []
    assert len(rows(empty_database, CHUNKS)) == 4 + sum(len(rollup.grains) for rollup in ROLLUPS)
    assert (rollup_rows(empty_database, owners), raw_identities(empty_database, owners)) == stored
    assert rows(empty_database, "select count(*) from only store.event_system") == [(0,)]
    assert written(empty_database, samples, owners) == len(samples) - 72
    assert differences(one_pass(samples, owners), rollup_rows(empty_database, owners)) == []
    assert found_differences(empty_database) == []


def test_an_event_a_year_late_counts_like_any_other(database_url: str) -> None:
    owners = organizations(database_url, 1)
    samples = mixture(days=2)
    year = dt.timedelta(days=365)
    early = START - year
    late = [
        system("late", 5.0, time=early.isoformat()),
        enterprise("late", "5").again(time=early.isoformat()),
        trade("late", "5", closed_at=early.isoformat(), opened_at=early.isoformat()),
        view("late", "dislike", time=early, user_id="u1"),
    ]
    assert written(database_url, samples, owners) == len(samples)
    assert written(database_url, [*late, *late, *samples], owners) == len(late)
    everything = [*samples, *late]
    assert differences(one_pass(everything, owners), rollup_rows(database_url, owners)) == []
    assert reaction_rows(database_url, owners) == reactions(everything, owners)
    assert found_differences(database_url) == []


async def test_retention_drops_whole_chunks(database_url: str, tmp_path: Path) -> None:
    folder = Archive(tmp_path / "archive")
    owners = organizations(database_url, 1)
    written(database_url, mixture(days=4), owners)
    for day in range(3):
        archive(database_url, folder, "trade", START + dt.timedelta(days=day))
    database = Database(database_url)
    await database.open()
    dropped, kept = await drop_raw_days(database, (START + dt.timedelta(days=2)).date(), folder)
    await database.close()
    assert (dropped, kept) == (2, ["enterprise", "system", "view"])
    starts = "select range_start from timescaledb_information.chunks where hypertable_name = 'event_trade' order by 1"
    assert [start.day for (start,) in rows(database_url, starts)] == [START.day + 2, START.day + 3]


def chunks_of_plan(url: str, owner: object, statement: object, parameters: object) -> tuple[set[str], str]:
    """The chunks that a statement of the API's role reads, and the whole plan."""
    with psycopg.connect(url) as connection:
        connection.execute("set local role streamgauge_api")
        connection.execute("select set_config('app.organization', %s, true)", (str(owner),))
        text = statement.decode() if isinstance(statement, bytes) else str(statement)
        plan = "\n".join(line for (line,) in connection.execute(f"explain (analyze, costs off) {text}", parameters))
    return {word for word in plan.replace('"', " ").split() if word.startswith("_hyper_")}, plan


def test_a_read_through_a_barrier_view_touches_only_the_chunks_of_its_range(database_url: str) -> None:
    owners = organizations(database_url, 1)
    written(database_url, mixture(days=60, each=1), owners)
    raw_chunks = rows(
        database_url, "select count(*) from timescaledb_information.chunks where hypertable_name = 'event_trade'"
    )
    assert raw_chunks == [(60,)]
    block_ranges = (
        "select count(*) from pg_indexes i join timescaledb_information.chunks c on c.chunk_schema = i.schemaname"
        " and c.chunk_name = i.tablename where c.hypertable_name = 'event_trade' and i.indexdef like '%% USING brin %%'"
    )
    assert rows(database_url, block_ranges) == raw_chunks
    start = calendar.floor(START + dt.timedelta(days=10), "1d", calendar.zone("UTC"))
    found, plan = chunks_of_plan(
        database_url,
        owners[0],
        "select * from app.event_trade where time >= %s and time < %s",
        (start, start + dt.timedelta(days=1)),
    )
    assert len(found) == 1, plan
    quarters = [(start + dt.timedelta(days=n), start + dt.timedelta(days=n, minutes=15)) for n in (9, 4, 0)]
    latest, values = compose_read(quarters, {"user_id": ("ann",)}, 21, (start + dt.timedelta(days=20), "s", "i"))
    found, plan = chunks_of_plan(database_url, owners[0], latest.as_string(None), values)
    assert len({name for name in found if name.endswith("chunk")}) == 3, plan
    question = Question(TRADE_PNL, ("net",), start, start + dt.timedelta(hours=12), group_by=("symbol",))
    found, plan = chunks_of_plan(database_url, owners[0], *compose(question))
    assert len({name for name in found if name.endswith("chunk")}) == 1, plan
    question = Question(SYSTEM_METRICS, ("avg",), start, start + dt.timedelta(hours=12, minutes=5))
    found, plan = chunks_of_plan(database_url, owners[0], *compose(question))
    everything = rows(
        database_url,
        "select count(*) from timescaledb_information.chunks where hypertable_name like 'rollup\\_system%%'",
    )
    assert len({name for name in found if name.endswith("chunk")}) == 2 < everything[0][0], plan
