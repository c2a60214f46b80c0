"""Retention: only what the archive holds is dropped, whatever comes late; what is gone is refused, not recomputed to nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from aggregators.definitions import ROLLUPS
from front.maintenance import rebuild_command, verify_command
from front.settings import InvalidSetting, Settings
from jobs.retention import RawRetention
from storage.database import Database
from storage.raw_days import RawEventsGone
from storage.recompute import rebuild, verify
from storage.sink import DatabaseSink
from tests.integration.stored import count, organizations, rollup_rows, run, scalar
from tests.one_pass import differences, one_pass
from tests.samples import Sample, batches, system, trade, view

DAYS = [dt.datetime(2026, 3, day, 12, tzinfo=dt.UTC) for day in range(1, 11)]


def quiet(*_: object) -> None:
    """No progress."""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool over the test's database."""
    pool = Database(database_url)
    await pool.open()
    yield pool
    await pool.close()


def written(url: str, samples: list[Sample], owners: list[UUID] | None = None) -> list[UUID]:
    """The samples through a sink; returns the organizations."""
    owners = owners or organizations(url, 1)
    sink = DatabaseSink(url, ROLLUPS)
    sink.write(batches(samples, owners))
    sink.close()
    return owners


def archive(url: str, kind: str, *days: dt.datetime) -> None:
    """What the archive writes once it holds a day: how many events, and up to which batch."""
    for day in days:
        run(
            url,
            f"insert into store.archived_day (kind, day, rows, batch) select '{kind}', '{day.date()}', count(*), max(batch)"
            f" from store.event_{kind} where time >= '{day.date()} 00:00Z' and time < '{day.date()} 24:00Z'"
            " on conflict (kind, day) do update set rows = store.archived_day.rows + excluded.rows, batch = excluded.batch",
        )


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


async def test_only_days_that_are_old_and_archived_whole_are_dropped(database_url: str, database: Database) -> None:
    samples = [system(f"s{day.day}", time=day.isoformat()) for day in DAYS]
    samples += [trade(f"t{day.day}", closed_at=day.isoformat(), opened_at=day.isoformat()) for day in DAYS]
    owners = written(database_url, samples)
    before = rollup_rows(database_url, owners)
    retention = RawRetention(database, 3, Calendar(DAYS[9]))
    with capture_logs() as logs:
        assert await retention.run() == 0
    assert [(log["event"], log["kinds"]) for log in logs] == [("raw_events_kept", ["system", "trade"])]
    assert (count(database_url, "system"), count(database_url, "trade")) == (10, 10)

    archive(database_url, "system", *DAYS)
    archive(database_url, "trade", DAYS[1])
    written(database_url, [system("late", time=DAYS[2].isoformat())], owners)
    with capture_logs() as logs:
        assert await retention.run() == 6
    assert logs == []
    # The seventh is three days old and stays; the third got an event that the archive has not.
    assert left(database_url, "system") == [3, 7, 8, 9, 10]
    assert left(database_url, "trade") == [1, 3, 4, 5, 6, 7, 8, 9, 10]
    assert await retention.run() == 0
    archive(database_url, "system", DAYS[2])
    assert await retention.run() == 1
    assert left(database_url, "system") == [7, 8, 9, 10]
    late = system("late", time=DAYS[2].isoformat())
    assert differences(one_pass([*samples, late], owners), rollup_rows(database_url, owners)) == []
    assert before != rollup_rows(database_url, owners)


async def test_an_event_that_is_late_for_a_dropped_day_counts_and_is_dropped_once_it_is_archived(
    database_url: str, database: Database
) -> None:
    samples = [system("a", time=DAYS[0].isoformat())]
    owners = written(database_url, samples)
    archive(database_url, "system", DAYS[0])
    retention = RawRetention(database, 3, Calendar(DAYS[9]))
    assert await retention.run() == 1
    late = system("b", 5.0, time=DAYS[0].isoformat())
    written(database_url, [late, *samples], owners)
    assert differences(one_pass([*samples, late], owners), rollup_rows(database_url, owners)) == []
    assert await retention.run() == 0
    assert count(database_url, "system") == 1
    archive(database_url, "system", DAYS[0])
    assert scalar(database_url, "select rows from store.archived_day") == 2
    assert await retention.run() == 1
    assert count(database_url, "system") == 0


async def test_what_waits_for_the_archive_is_told_once_a_day(database_url: str, database: Database) -> None:
    written(database_url, [system("a", time=DAYS[0].isoformat())])
    clock = Calendar(DAYS[9])
    retention = RawRetention(database, 3, clock)
    told = []
    for _ in range(30):
        with capture_logs() as logs:
            await retention.run()
        told.append(len(logs))
        clock.now += dt.timedelta(hours=1)
    assert told == [1, *[0] * 23, 1, *[0] * 5]


async def test_a_range_of_which_raw_events_are_gone_is_refused_and_its_rollups_stay(
    database_url: str, database: Database
) -> None:
    samples = [view(f"v{day.day}", "like", time=day, user_id=f"u{day.day}") for day in DAYS]
    samples += [system(f"s{day.day}", time=day.isoformat()) for day in DAYS]
    owners = written(database_url, samples)
    archive(database_url, "view", *DAYS[:3])
    archive(database_url, "system", *DAYS[:3])
    assert await RawRetention(database, 3, Calendar(DAYS[9])).run() == 6
    with pytest.raises(RawEventsGone, match=r"\(system\) of 2026-03-02 to 2026-03-03 are no longer"):
        list(verify(database_url, ROLLUPS, DAYS[1], DAYS[9], quiet))
    with pytest.raises(RawEventsGone, match="2026-03-01 to 2026-03-03"):
        rebuild(database_url, ROLLUPS, DAYS[0], None, quiet)
    settings = Settings(database_url=database_url)
    for command in (verify_command, rebuild_command):
        with pytest.raises(InvalidSetting, match="--from: the raw events"):
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
        ("days_left_out", "system_metrics", 3),
        ("days_left_out", "video_engagement", 3),
    }
    assert differences(expected, rollup_rows(database_url, owners)) == []
    assert scalar(database_url, "select count(*) from store.video_reaction") == 10
