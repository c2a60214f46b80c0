"""Retention: only what the archive holds is dropped, whatever comes late; what is gone is refused, not recomputed to nothing."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from aggregators.definitions import ROLLUPS
from front.maintenance import rebuild_command, verify_command
from front.settings import InvalidSetting, Settings
from jobs.retention import RawRetention
from storage.archive import Archive, ArchiveUnavailable
from storage.archive_write import archive_day
from storage.database import JOBS_ROLE, Database, connect
from storage.raw_days import RawEventsGone, drop_raw_days
from storage.recompute import rebuild, verify
from storage.sink import DatabaseSink
from tests.integration.stored import count, found_differences, organizations, rollup_rows, rows, run, scalar
from tests.one_pass import differences, one_pass
from tests.samples import Sample, batches, system, trade, view

DAYS = [dt.datetime(2026, 3, day, 12, tzinfo=dt.UTC) for day in range(1, 11)]


def quiet(*_: object) -> None:
    """No progress."""


@pytest.fixture
def folder(tmp_path: Path) -> Archive:
    """An empty archive."""
    return Archive(tmp_path / "archive")


def written(url: str, samples: list[Sample], owners: list[UUID] | None = None) -> list[UUID]:
    """The samples through a sink; returns the organizations."""
    owners = owners or organizations(url, 1)
    sink = DatabaseSink(url, ROLLUPS)
    sink.write(batches(samples, owners))
    sink.close()
    return owners


def archive(url: str, folder: Archive, kind: str, *days: dt.datetime) -> None:
    """Archives these days of a kind, and no others."""
    with connect(url, name="test", role=JOBS_ROLE) as connection:
        for day in days:
            archive_day(connection, folder, kind, day.date())


async def drop(database: Database, folder: Archive) -> int:
    """Drops what is older than three days and archived; how many days that was."""
    return (await drop_raw_days(database, DAYS[6].date(), folder))[0]


def left(url: str, kind: str) -> list[int]:
    """The days of the month of which there are raw events."""
    return list(
        scalar(
            url, f"select array_agg(distinct extract(day from time at time zone 'UTC')::int) from store.event_{kind}"
        )
        or []
    )


class Calendar:
    """A clock that stands."""

    def __init__(self, now: dt.datetime) -> None:
        self.now = now

    def __call__(self) -> dt.datetime:
        return self.now


async def test_only_days_that_are_old_and_archived_whole_are_dropped(
    database_url: str, database: Database, folder: Archive
) -> None:
    samples = [system(f"s{day.day}", time=day.isoformat()) for day in DAYS]
    samples += [trade(f"t{day.day}", closed_at=day.isoformat(), opened_at=day.isoformat()) for day in DAYS]
    owners = written(database_url, samples)
    before = rollup_rows(database_url, owners)
    assert await drop_raw_days(database, DAYS[6].date(), folder) == (0, ["system", "trade"])
    assert (count(database_url, "system"), count(database_url, "trade")) == (10, 10)

    archive(database_url, folder, "system", *DAYS)
    archive(database_url, folder, "trade", DAYS[1])
    written(database_url, [system("late", time=DAYS[2].isoformat())], owners)
    assert await drop(database, folder) == 6
    # The seventh is three days old and stays; the third got an event that the archive has not.
    assert left(database_url, "system") == [3, 7, 8, 9, 10]
    assert left(database_url, "trade") == [1, 3, 4, 5, 6, 7, 8, 9, 10]
    assert await drop(database, folder) == 0
    archive(database_url, folder, "system", DAYS[2])
    assert await drop(database, folder) == 1
    assert left(database_url, "system") == [7, 8, 9, 10]
    late = system("late", time=DAYS[2].isoformat())
    assert differences(one_pass([*samples, late], owners), rollup_rows(database_url, owners)) == []
    assert before != rollup_rows(database_url, owners)


async def test_no_writer_waits_for_a_drop_and_what_it_writes_meanwhile_stays(
    database_url: str, database: Database, folder: Archive
) -> None:
    owners = written(database_url, [system("a", time=DAYS[1].isoformat())])
    archive(database_url, folder, "system", DAYS[1])
    under_way = asyncio.Event()
    commit = threading.Event()
    loop = asyncio.get_running_loop()

    def hold(_: Any) -> None:
        loop.call_soon_threadsafe(under_way.set)
        assert commit.wait(30)

    sink = DatabaseSink(database_url, ROLLUPS, before_commit=hold)
    late = batches([system("late", time=DAYS[1].isoformat())], owners)
    writing = asyncio.create_task(asyncio.to_thread(sink.write, late))
    await under_way.wait()
    # Its transaction is open while the day is dropped.
    assert await drop(database, folder) == 1
    commit.set()
    assert (await writing).counted == 1
    sink.close()
    assert count(database_url, "system") == 1
    assert await drop(database, folder) == 0
    archive(database_url, folder, "system", DAYS[1])
    assert await drop(database, folder) == 1
    assert found_differences(database_url, archive=folder) == []


async def test_an_event_whose_batch_was_numbered_before_the_archived_ones_is_kept(
    database_url: str, database: Database, folder: Archive
) -> None:
    # A sink reserves the numbers of its next batches. Another's batches may be archived before it uses them.
    owners = organizations(database_url, 1)
    slow, quick = DatabaseSink(database_url, ROLLUPS), DatabaseSink(database_url, ROLLUPS)
    slow.write(batches([system("first", time=DAYS[9].isoformat())], owners))
    quick.write(batches([system("quick", time=DAYS[0].isoformat())], owners))
    archive(database_url, folder, "system", DAYS[0])
    slow.write(batches([system("slow", time=DAYS[0].isoformat())], owners))
    slow.close()
    quick.close()
    numbers = dict(rows(database_url, "select id, batch from store.event_system"))
    assert numbers["slow"] < numbers["quick"]
    assert await drop(database, folder) == 0
    archive(database_url, folder, "system", DAYS[0])
    assert await drop(database, folder) == 1
    assert found_differences(database_url, folder) == []
    assert scalar(database_url, "select sum(rows) from store.archived_file") == 2


async def test_an_event_that_is_late_for_a_dropped_day_counts_and_is_dropped_once_it_is_archived(
    database_url: str, database: Database, folder: Archive
) -> None:
    samples = [system("a", time=DAYS[0].isoformat())]
    owners = written(database_url, samples)
    retention = RawRetention(database, folder, 3, Calendar(DAYS[9]))
    assert await retention.run() == 1
    late = system("b", 5.0, time=DAYS[0].isoformat())
    written(database_url, [late, *samples], owners)
    assert differences(one_pass([*samples, late], owners), rollup_rows(database_url, owners)) == []
    assert await drop(database, folder) == 0
    assert count(database_url, "system") == 1
    assert await retention.run() == 1
    assert scalar(database_url, "select (rows, dropped_rows, files)::text from store.archived_day") == "(2,2,2)"
    assert count(database_url, "system") == 0
    assert await retention.run() == 0


async def test_what_cannot_be_archived_is_kept_and_told_of(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    written(database_url, [system("a", time=DAYS[0].isoformat())])
    (tmp_path / "file").write_text("no folder")
    clock = Calendar(DAYS[9])
    retention = RawRetention(database, Archive(tmp_path / "file"), 3, clock)
    told: list[list[str]] = []
    for _ in range(26):
        with capture_logs() as logs, pytest.raises(ArchiveUnavailable, match=r"folder .*/file: "):
            await retention.run()
        told.append([log["event"] for log in logs])
        clock.now += dt.timedelta(hours=1)
    assert told == [
        ["archive_failed", "raw_events_kept"] if hour in (0, 24) else ["archive_failed"] for hour in range(26)
    ]
    assert count(database_url, "system") == 1
    state = "select (oldest_waiting, days_waiting)::text from store.archive_state"
    assert scalar(database_url, state) == "(2026-03-01,1)"


async def test_a_range_of_which_raw_events_are_gone_is_refused_and_its_rollups_stay(
    database_url: str, database: Database, folder: Archive
) -> None:
    samples = [view(f"v{day.day}", "like", time=day, user_id=f"u{day.day}") for day in DAYS]
    samples += [system(f"s{day.day}", time=day.isoformat()) for day in DAYS]
    owners = written(database_url, samples)
    archive(database_url, folder, "view", *DAYS[:3])
    archive(database_url, folder, "system", *DAYS[:3])
    assert await drop(database, folder) == 6
    with pytest.raises(RawEventsGone, match=r"\(system\) of 2026-03-02 to 2026-03-03 are no longer"):
        list(verify(database_url, ROLLUPS, DAYS[1], DAYS[9], quiet))
    with pytest.raises(RawEventsGone, match="2026-03-01 to 2026-03-03"):
        rebuild(database_url, ROLLUPS, DAYS[0], None, quiet)
    # Books that lost a file are no archive either.
    run(database_url, "delete from store.archived_file where day = '2026-03-02'")
    settings = Settings(database_url=database_url, archive=folder.folder)
    for command in (verify_command, rebuild_command):
        with pytest.raises(InvalidSetting, match=r"--from: the raw events \(system\) of 2026-03-02 are"):
            command(settings, DAYS[0], None, [], Console(quiet=True))
    expected = one_pass(samples, owners)
    assert differences(expected, rollup_rows(database_url, owners)) == []
    # A range without these days is as good as ever; so is everything there is, which leaves them out and says so.
    assert list(verify(database_url, ROLLUPS, DAYS[3], DAYS[9], quiet)) == []
    concerned = [rollup.name for rollup in ROLLUPS if rollup.event in ("system", "view")]
    assert rebuild(database_url, ROLLUPS, DAYS[3], DAYS[9], quiet) == len(concerned) * 7
    with capture_logs() as logs:
        assert list(verify(database_url, ROLLUPS, None, None, quiet)) == []
        rebuild(database_url, ROLLUPS, None, None, quiet)
    assert {(log["event"], log["rollup"], log["days"]) for log in logs} == {
        ("days_left_out", rollup, 3) for rollup in concerned
    }
    assert differences(expected, rollup_rows(database_url, owners)) == []
    assert scalar(database_url, "select count(*) from store.video_reaction") == 10
