"""Declarations and migrations agree: raw tables have the frames' columns, rollup tables the declared ones, in order and type."""

from __future__ import annotations

import psycopg
import pytest

from aggregators.definitions import ROLLUPS
from aggregators.engine import columns
from aggregators.frames import MONEY, TIME, schema
from aggregators.rollup import Rollup
from ingest.events import KINDS
from storage.migrate import migrate, migrations
from tests.integration.stored import scalar


def described(url: str, table: str) -> list[tuple[str, str, bool]]:
    """Name, type and whether it may be null, of every column of a table, in order."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "select attname, format_type(atttypid, atttypmod), not attnotnull from pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum",
            (f"store.{table}",),
        ).fetchall()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_raw_table_has_the_columns_of_its_frame(database_url: str, kind: str) -> None:
    types = {"organization": "uuid", "metrics": "jsonb"}
    for name, dtype in schema(kind).items():
        types.setdefault(name, {MONEY: "numeric", TIME: "timestamp with time zone"}.get(dtype) or _plain(str(dtype)))
    expected = [*types.items()]
    order = list(schema(kind))
    expected.sort(key=lambda column: order.index(column[0]) if column[0] in order else -1)
    expected = [column for column in expected if column[0] in order]
    found = [(name, pg_type) for name, pg_type, _ in described(database_url, f"event_{kind}")]
    assert found == [*expected, ("batch", "bigint"), ("item", "integer")]


def _plain(dtype: str) -> str:
    return {"String": "text", "Int64": "bigint"}[dtype]


@pytest.mark.parametrize(
    ("rollup", "grain"), [pytest.param(r, g, id=f"{r.name}-{g}") for r in ROLLUPS for g in r.grains]
)
def test_a_rollup_table_has_the_declared_columns(database_url: str, rollup: Rollup, grain: str) -> None:
    types = {"organization": "uuid", "bucket": "timestamp with time zone"} | dict.fromkeys(rollup.keys, "text")
    types |= {measure.name: str(measure.pg_type) for measure in rollup.measures_at(grain)}
    types |= (
        {"last_time": "timestamp with time zone", "last_source": "text", "last_id": "text"} if rollup.has_last() else {}
    )
    found = described(database_url, f"rollup_{rollup.name}_{grain}")
    assert [name for name, _, _ in found] == columns(rollup, grain)
    assert {name: pg_type for name, pg_type, _ in found} == types
    assert {name for name, _, nullable in found if not nullable} == {"organization", "bucket", *rollup.keys}


def test_text_is_compared_by_its_bytes_so_that_the_database_and_the_engine_agree(database_url: str) -> None:
    assert (
        scalar(
            database_url,
            "select count(*) from information_schema.columns where table_schema = 'store' and data_type = 'text'"
            " and (table_name like 'event\\_%%' or table_name like 'rollup\\_%%') and collation_name is distinct from 'C'",
        )
        == 0
    )


def test_migrating_again_changes_nothing(database_url: str) -> None:
    before = scalar(database_url, "select count(*) from public.streamgauge_migration")
    assert migrate(database_url, ROLLUPS) == []
    assert scalar(database_url, "select count(*) from public.streamgauge_migration") == before == len(migrations())


def test_no_two_migrations_have_the_same_number() -> None:
    numbers = [number for number, _, _ in migrations()]
    assert numbers == sorted(set(numbers))
