"""The archive: what is in it is read as if it were in the table; what comes late is appended, and a drop passes nobody."""

from __future__ import annotations

import datetime as dt

import pytest

from aggregators.definitions import ROLLUPS
from storage.archive import Archive
from storage.archive_write import archive_days
from storage.database import JOBS_ROLE, Database, StorageUnavailable, connect
from storage.raw_days import drop_raw_days
from storage.recompute import rebuild, verify
from tests.integration.archived import (
    BEFORE,
    DAY,
    archived,
    archived_rows,
    dropped,
    everything,
    plain,
    raw_rows,
    written,
)
from tests.integration.stored import (
    KINDS,
    count,
    found_differences,
    organizations,
    reaction_rows,
    rollup_rows,
    run,
    scalar,
)
from tests.one_pass import differences, one_pass, reactions
from tests.samples import START, system


async def test_archived_and_dropped_days_are_verified_and_rebuilt_as_if_they_were_there(
    database_url: str, database: Database, folder: Archive
) -> None:
    owners, samples = organizations(database_url), everything()
    written(database_url, samples, owners)
    before = rollup_rows(database_url, owners)
    assert archived(database_url, folder).days == 12
    assert archived(database_url, folder).days == 0
    assert found_differences(database_url, folder) == []
    assert await dropped(database, folder) == 12
    assert [count(database_url, kind) for kind in KINDS] == [0] * 4
    assert list(verify(database_url, ROLLUPS, START - DAY, START + 5 * DAY, lambda *_: None, folder)) == []
    assert found_differences(database_url, folder) == []

    run(database_url, "update store.rollup_trade_pnl_1d set trades = trades + 1", "delete from store.video_reaction")
    run(database_url, "delete from store.rollup_system_metrics_1m", 'delete from "store"."rollup_system_metrics_15m"')
    assert len(found_differences(database_url, folder)) > 12
    rebuild(database_url, ROLLUPS, None, None, lambda *_: None, folder)
    assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []
    assert rollup_rows(database_url, owners) == before
    assert reaction_rows(database_url, owners) == reactions(samples, owners)
    assert found_differences(database_url, folder) == []


async def test_a_day_of_many_pieces_is_one_file(
    database_url: str, database: Database, folder: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("archive_write", "raw_events"):
        monkeypatch.setattr(f"storage.{module}.PIECE", 2_048)
    owners = organizations(database_url)
    samples = [
        system(f"e{n}", n / 8, time=(START + n * dt.timedelta(seconds=1)).isoformat(), organization=n % 3 // 2)
        for n in range(6_000)
    ]
    written(database_url, samples, owners)
    assert archived(database_url, folder).files == 2
    stored = [tuple(map(plain, row)) for row in raw_rows(database_url, "system")]
    assert archived_rows(database_url, folder, "system") == sorted(stored, key=repr)
    assert await dropped(database, folder) == 1
    assert found_differences(database_url, folder) == []
    assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []


async def test_a_late_event_of_an_archived_day_is_appended(
    database_url: str, database: Database, folder: Archive
) -> None:
    owners, samples = organizations(database_url), everything(2)
    written(database_url, samples, owners)
    archived(database_url, folder)
    first = {path: path.read_bytes() for path in folder.folder.rglob("*.parquet")}
    # Before the day is dropped, and behind it.
    for number, left in ((0, None), (1, 1)):
        late = system(f"late-{number}", 9.0, time=(START + dt.timedelta(hours=1)).isoformat(), organization=1)
        written(database_url, [late], owners)
        samples.append(late)
        assert left is None or count(database_url, "system") == left
        assert found_differences(database_url, folder) == []
        found = archived(database_url, folder)
        assert (found.days, found.files, found.rows) == (1, 1, 1)
        await dropped(database, folder)
        assert found_differences(database_url, folder) == []
    assert {path: path.read_bytes() for path in first} == first
    books = (
        "select (rows, dropped_rows, files)::text from store.archived_day where kind = 'system' order by day limit 1"
    )
    assert scalar(database_url, books) == "(8,8,4)"
    assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []


async def test_who_reads_both_places_is_not_passed_by_a_drop(
    database_url: str, database: Database, folder: Archive
) -> None:
    (owner,) = organizations(database_url, 1)
    written(database_url, [system("a", time=START.isoformat())], [owner])
    archived(database_url, folder)
    async with database.read_raw(owner) as reading:
        with pytest.raises(StorageUnavailable, match="LockNotAvailable"):
            await drop_raw_days(database, BEFORE, folder)
        found = await (await reading.execute("select count(*) from app.event_system")).fetchone()
        assert found == (1,)
    assert count(database_url, "system") == 1
    assert scalar(database_url, "select count(*) from store.archived_file where dropped_at is not null") == 0
    assert await dropped(database, folder) == 1


def test_one_process_archives_at_a_time(database_url: str, folder: Archive) -> None:
    written(database_url, [system("a", time=START.isoformat())], organizations(database_url, 1))
    with connect(database_url, name="test", role=JOBS_ROLE) as other:
        other.execute("select pg_advisory_lock(731005, 0)")
        assert archive_days(database_url, folder, BEFORE).elsewhere
        # The server hears of a closed connection a moment later.
        other.execute("select pg_advisory_unlock(731005, 0)")
    assert archived(database_url, folder).days == 1


def test_a_stop_ends_a_run_between_pieces(database_url: str, folder: Archive) -> None:
    written(database_url, everything(1), organizations(database_url, 2))
    found = archive_days(database_url, folder, BEFORE, stop=lambda: True)
    assert (found.stopped, found.days, len(found.waiting)) == (True, 0, 4)
    assert archived(database_url, folder).days == 4
