"""Compression on TimescaleDB's community edition: switched on by the statements that the service sends, and late events count in it."""

from __future__ import annotations

from uuid import UUID

import polars as pl

from aggregators.definitions import ROLLUPS
from aggregators.frames import raw_frame
from storage import hypertables, rollup_sql
from storage.edition import Edition
from storage.migrate import APPLIED, migrations
from storage.sink_sql import copy_statement, raw_csv
from tests.community.conftest import Run, Statement
from tests.samples import START, Sample, accepted, system

OWNER = UUID(int=1)
COMMUNITY = Edition("community", "17.5", "2.23.0-dev")


def schema(edition: Edition = COMMUNITY) -> list[Statement]:
    """What a first start sends to an empty database of the community edition."""
    statements: list[Statement] = ["create extension timescaledb", APPLIED]
    statements += [text for _, _, text in migrations()]
    for rollup in ROLLUPS:
        for grain in rollup.grains:
            statements += [statement.as_string(None) for statement in rollup_sql.ddl(rollup, grain)]
    statements += [hypertables.hypertable(*table).as_string(None) for table in hypertables.read_by_time(ROLLUPS)]
    for kind in ("system", "enterprise", "trade", "view"):
        statements.append(hypertables.compression(kind, edition).as_string(None))
        statements += [one.as_string(None) for one in hypertables.compression_policy(kind, edition, 7)]
    return statements


def copied(samples: list[Sample], batch: int) -> Statement:
    """The COPY of the samples' raw rows, as the sink sends it but for where it reads from."""
    events = accepted(samples)
    frame: pl.DataFrame = raw_frame("system", [str(OWNER)] * len(events), events)
    statement = copy_statement(frame, "event_system").as_string(None)
    return statement.replace("from stdin", "from '/dev/blob'"), raw_csv(frame, batch).decode()


POLICIES = (
    "select hypertable_name, proc_name, config ->> 'compress_after' as after from timescaledb_information.jobs"
    " where hypertable_schema = 'store' order by 1"
)
SETTINGS = (
    "select hypertable::text, segmentby, orderby from timescaledb_information.hypertable_columnstore_settings"
    " where segmentby is not null order by 1"
)
COMPRESSED = (
    "select hypertable_name from timescaledb_information.hypertables"
    " where hypertable_schema = 'store' and compression_enabled order by 1"
)
LICENSE = "select current_setting('timescaledb.license', true) as license"
TABLES = ["event_enterprise", "event_system", "event_trade", "event_view"]
READ = "select count(*)::int as events, count(distinct id)::int as ids, sum((metrics ->> 'cpu_usage')::float8) as total from {}"


def test_raw_events_are_compressed_by_organization_and_time_and_rollups_are_not(community: Run) -> None:
    changed = [one.as_string(None) for one in hypertables.compression_policy("trade", COMMUNITY, 30)]
    *_, license_, compressed, settings, policies = community(
        [*schema(), *changed, LICENSE, COMPRESSED, SETTINGS, POLICIES]
    )
    assert license_ == [{"license": "timescale"}]
    assert [row["hypertable_name"] for row in compressed] == TABLES
    assert [row["hypertable"] for row in settings] == [f"store.{table}" for table in TABLES]
    assert {(row["segmentby"], row["orderby"].split()[0]) for row in settings} == {("organization", '"time"')}
    # A policy that is asked for again with another age takes the place of the one before.
    ages = dict.fromkeys(TABLES, "7 days") | {"event_trade": "30 days"}
    assert policies == [
        {"hypertable_name": table, "proc_name": "policy_compression", "after": age} for table, age in ages.items()
    ]


def test_the_statements_for_older_versions_say_the_same(community: Run) -> None:
    *_, settings, policies = community([*schema(Edition("community", "16", "2.14.2")), SETTINGS, POLICIES])
    assert {(row["segmentby"], row["orderby"].split()[0]) for row in settings} == {("organization", '"time"')}
    assert [(row["hypertable_name"], row["after"]) for row in policies] == [(table, "7 days") for table in TABLES]


def test_an_event_that_is_late_for_a_compressed_chunk_counts_and_is_read_like_any_other(community: Run) -> None:
    first = [system(f"e{n}", 1.0) for n in range(100)]
    late = [system(f"late{n}", 2.0) for n in range(10)]
    compress = "select count(compress_chunk(c))::int as chunks from show_chunks('store.event_system') c"
    organization = f"select set_config('app.organization', '{OWNER}', false)"
    feed = f"select count(*)::int as events from app.event_system where time >= '{START}' and time <= '{START}' and batch = 2"
    *_, compressed, _, _, both, through_the_view, of_the_batch, _, again = community(
        [
            *schema(),
            copied(first, 1),
            compress,
            copied(late, 2),
            organization,
            READ.format("store.event_system"),
            READ.format("app.event_system"),
            feed,
            "select compress_chunk(c) from show_chunks('store.event_system') c",
            READ.format("store.event_system"),
        ]
    )
    assert compressed == [{"chunks": 1}]
    assert both == through_the_view == again == [{"events": 110, "ids": 110, "total": 120.0}]
    assert of_the_batch == [{"events": 10}]
