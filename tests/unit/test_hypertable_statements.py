"""What is sent to TimescaleDB, by edition and version."""

from __future__ import annotations

import datetime as dt

import pytest

from aggregators.definitions import ROLLUPS
from aggregators.rollup import GRAINS
from storage.edition import Edition
from storage.hypertables import ROLLUP_CHUNKS, compression, compression_policy, hypertable, read_by_time

NEW = Edition("community", "17.5", "2.23.0-dev")
OLD = Edition("community", "16.3", "2.14.2")


def test_versions_are_compared_as_numbers() -> None:
    assert NEW.at_least(2, 18)
    assert NEW.at_least(2, 9)
    assert not OLD.at_least(2, 18)
    assert not Edition("plain", "18.6", None).at_least(1)
    assert (NEW.compression, Edition("apache", "17", "2.19.3").compression) == (True, False)


@pytest.mark.parametrize("grain", GRAINS)
def test_a_chunk_holds_about_as_many_buckets_of_a_key_at_every_grain(grain: str) -> None:
    assert 1_440 <= ROLLUP_CHUNKS[grain] / GRAINS[grain] <= 2_880  # type: ignore[index]


def test_a_year_by_day_touches_few_chunks() -> None:
    year = dt.timedelta(days=366)
    assert {grain: year // ROLLUP_CHUNKS[grain] + 2 for grain in ("15m", "1h", "1d")} == {"15m": 14, "1h": 6, "1d": 2}


def test_every_table_that_is_read_by_time_becomes_a_hypertable() -> None:
    tables = {name: (column, width.days) for name, column, width in read_by_time(ROLLUPS)}
    assert tables["event_trade"] == ("time", 1)
    assert tables["rollup_trade_pnl_15m"] == ("bucket", 30)
    assert len(tables) == 4 + sum(len(rollup.grains) for rollup in ROLLUPS)


def test_a_table_keeps_its_rows_and_gets_no_other_index() -> None:
    assert hypertable("rollup_trade_pnl_1d", "bucket", dt.timedelta(days=1_440)).as_string(None) == (
        """select create_hypertable('"store"."rollup_trade_pnl_1d"'::regclass, by_range('bucket', interval '1440 days'),"""
        " create_default_indexes => false, if_not_exists => true, migrate_data => true)"
    )


def test_compression_in_the_words_of_the_version() -> None:
    assert compression("trade", NEW).as_string(None) == (
        """alter table "store"."event_trade" set (timescaledb.enable_columnstore = true,"""
        " timescaledb.segmentby = 'organization', timescaledb.orderby = 'time')"
    )
    assert compression("trade", OLD).as_string(None) == (
        """alter table "store"."event_trade" set (timescaledb.compress,"""
        " timescaledb.compress_segmentby = 'organization', timescaledb.compress_orderby = 'time')"
    )
    assert [one.as_string(None) for one in compression_policy("view", NEW, 9)] == [
        """call remove_columnstore_policy('"store"."event_view"'::regclass, if_exists => true)""",
        """call add_columnstore_policy('"store"."event_view"'::regclass, after => interval '9 days')""",
    ]
    assert [one.as_string(None) for one in compression_policy("view", OLD, 9)] == [
        """select remove_compression_policy('"store"."event_view"'::regclass, if_exists => true)""",
        """select add_compression_policy('"store"."event_view"'::regclass, compress_after => interval '9 days')""",
    ]
