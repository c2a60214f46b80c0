"""Reports that are due by schedule: one for each local time, whatever clocks do, however many schedulers look or die."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from jobs.report_schedules import FULL, MISSED, MOST_MISSED, make_due
from jobs.scheduler import housekeeping
from storage.database import Database
from storage.notices import REPORT_ASKED, NoticeListener
from storage.report_dues import MOST_SCHEDULED, prune_dues
from tests.integration.api_service import Api, running, utc_now
from tests.integration.report_service import REPORTS, Here, ended, made_by
from tests.integration.schedule_service import SCHEDULES, at, dues, look, noted, schedule, schedule_of
from tests.service_process import ROOT


@pytest.fixture
async def alone(database_url: str) -> AsyncIterator[Api]:
    """A service with a database of its own: schedulers look at all organizations' schedules."""
    async with running(database_url) as service:
        yield service


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as made:
        yield made


async def test_clocks_that_change_neither_double_a_run_nor_lose_it(alone: Api) -> None:
    alone.clock.now = at("2026-03-28T12:00")
    berlin = (await schedule(alone))["id"]
    chatham = (await schedule(alone, cron="15 3 * * *", tz="Pacific/Chatham"))["id"]
    # An hour at a time, as a scheduler that looks often: spring and autumn of both halves of the world.
    for start, hours in (
        ("2026-03-28T12:00", 48),
        ("2026-04-04T06:00", 48),
        ("2026-09-26T06:00", 48),
        ("2026-10-24T12:00", 48),
    ):
        for hour in range(hours):
            await make_due(alone.services.database, now=at(start) + timedelta(hours=hour / 2))
    made = [due for due in await noted(alone, berlin) if due[0] != "-"]
    assert [due for due in made if "03-29" in due or "10-25" in due] == ["2026-03-29T03:00", "2026-10-25T02:30"]
    made = [due for due in await noted(alone, chatham) if due[0] != "-"]
    assert [due for due in made if "04-05" in due or "09-27" in due] == ["2026-04-05T03:15", "2026-09-27T03:45"]
    moments = {f"{due.period:%m-%d}": due.due_at for due in await dues(alone, chatham)}
    assert (moments["04-05"], moments["09-27"]) == (at("2026-04-04T13:30"), at("2026-09-26T14:00"))


async def test_an_hour_that_comes_twice_is_due_once(alone: Api) -> None:
    alone.clock.now = at("2026-10-24T23:30")
    hourly = (await schedule(alone, cron="@hourly"))["id"]
    for now in ("2026-10-25T00:00", "2026-10-25T00:59", "2026-10-25T01:00", "2026-10-25T01:30", "2026-10-25T02:00"):
        await look(alone, now)
    assert await noted(alone, hourly) == ["2026-10-25T02:00", "2026-10-25T03:00"]


async def test_a_run_is_of_the_days_that_its_due_day_names(alone: Api) -> None:
    alone.clock.now = at("2026-03-08T23:30")  # A Monday in Berlin.
    made = await schedule(
        alone, type="pnl", days="previous_week", filters={"symbol": ["EURUSD"]}, starting_equity={"USD": "10.50"}
    )
    assert made["next_due"] == [f"2026-03-{day:02}T02:30:00+01:00" for day in (9, 10, 11)]
    assert await look(alone, "2026-03-09T01:30") == 1
    (due,) = await dues(alone, made["id"])
    async with made_by(alone, Here()):
        report = await ended(alone, str(due.report))
    assert (report["status"], report["type"], report["format"]) == ("succeeded", "pnl", "json")
    assert report["period"] == {"from": "2026-03-02", "to": "2026-03-08", "tz": "Europe/Berlin"}
    page = (await alone.request("GET", f"{SCHEDULES}/{made['id']}/runs")).json
    assert (page["total"], page["page"], page["limit"]) == (1, 1, 50)
    (run,) = page["runs"]
    async with alone.session.get(run.pop("download_url")) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert (await answer.json())["period"]["from"] == "2026-03-02"
    assert run == {
        "period": "2026-03-09T02:30", "due_at": "2026-03-09T02:30:00+01:00", "status": "made", "reason": None,
        "report": str(due.report), "report_status": "succeeded", "error": None, "file_name": report["file_name"],
    }  # fmt: skip
    shown = schedule_of(await alone.request("GET", f"{SCHEDULES}/{made['id']}"))
    assert [one["period"] for one in shown["last"]] == ["2026-03-09T02:30"]


async def test_a_last_hour_that_clocks_jump_over_is_of_its_own_day(alone: Api, connection: psycopg.Connection) -> None:
    # In Nuuk 28 March 2026 ends with its 23rd hour: 23:30 is due at the midnight after it.
    alone.clock.now = at("2026-03-27T12:00")
    nuuk = (await schedule(alone, cron="30 23 * * *", tz="America/Nuuk"))["id"]
    for hour in range(72):
        await make_due(alone.services.database, now=at("2026-03-27T12:00") + timedelta(hours=hour))
    assert await noted(alone, nuuk) == ["2026-03-27T23:30", "2026-03-29T00:00", "2026-03-29T23:30"]
    days = "select parameters ->> 'first', parameters ->> 'last' from store.report_run order by period"
    assert connection.execute(days).fetchall() == [(day, day) for day in ("2026-03-26", "2026-03-27", "2026-03-28")]


async def test_of_what_was_missed_the_latest_is_made_and_the_others_are_noted(alone: Api) -> None:
    alone.clock.now = at("2026-03-10T12:00")
    daily = (await schedule(alone))["id"]
    often = (await schedule(alone, cron="*/15 * * * *", days="today"))["id"]
    paused = (await schedule(alone, paused=True))["id"]
    assert await look(alone, "2026-03-10T12:10") == 0
    # The schedulers are down for three days, or four weeks.
    assert await look(alone, "2026-03-13T12:00") == 2
    assert await noted(alone, daily) == ["-2026-03-11T02:30", "-2026-03-12T02:30", "2026-03-13T02:30"]
    assert {due.reason for due in await dues(alone, daily)} == {MISSED, None}
    assert (await noted(alone, often))[-2:] == ["-2026-03-13T12:45", "2026-03-13T13:00"]
    assert len(await noted(alone, often)) == 3 * 96
    assert await look(alone, "2026-03-13T12:00") == 0
    await look(alone, "2026-04-10T12:00")
    assert len(await noted(alone, often)) == 3 * 96 + MOST_MISSED + 1
    assert await noted(alone, paused) == []
    runs = (await alone.request("GET", f"{REPORTS}?limit=200")).json
    assert runs["total"] == 4
    # What came of due times outlives the reports, but not for ever.
    assert await prune_dues(alone.services.database, now=at("2027-04-01T12:00")) == 0
    assert await prune_dues(alone.services.database, now=at("2027-06-01T12:00")) > 1_000


async def test_several_schedulers_at_once_make_one(alone: Api, database_url: str) -> None:
    alone.clock.now = at("2026-03-10T12:00")
    made = [(await schedule(alone, name=f"number {number}"))["id"] for number in range(6)]
    others = [Database(database_url, size=2) for _ in range(3)]
    for other in others:
        await other.open()
    try:
        found = await asyncio.gather(
            *(make_due(other, now=at("2026-03-11T06:00")) for other in others for _ in range(2))
        )
        assert sum(found) == len(made)
        assert sum(await asyncio.gather(*(make_due(other, now=at("2026-03-11T06:00")) for other in others))) == 0
    finally:
        for other in others:
            await other.close()
    for one in made:
        assert await noted(alone, one) == ["2026-03-11T02:30"]
    assert (await alone.request("GET", REPORTS)).json["total"] == len(made)


async def test_a_scheduler_that_is_killed_between_leaves_one_run_to_the_next(
    alone: Api, database_url: str, connection: psycopg.Connection
) -> None:
    alone.clock.now = at("2026-03-10T12:00")
    made = (await schedule(alone))["id"]
    # The process has claimed the schedule and cannot write its run.
    with connection.transaction():
        connection.execute("lock table store.report_run in exclusive mode")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.scheduler_process",
            database_url,
            "2026-03-11T06:00:00+00:00",
            cwd=ROOT,
        )
        try:
            waiting = "select count(*) from pg_locks where not granted and relation = 'store.report_run'::regclass"
            async with asyncio.timeout(30):
                while connection.execute(waiting).fetchone() == (0,):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            # Nobody else waits for it meanwhile.
            assert await look(alone, "2026-03-11T06:00") == 0
        finally:
            process.kill()
            await process.wait()
    gone = "select count(*) from pg_stat_activity where datname = current_database() and query ~ 'report_due' and state <> 'idle'"
    async with asyncio.timeout(30):
        while connection.execute(gone + " and pid <> pg_backend_pid()").fetchone() != (0,):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await look(alone, "2026-03-11T06:00") == 1
    assert await noted(alone, made) == ["2026-03-11T02:30"]
    assert connection.execute("select count(*) from store.report_run").fetchone() == (1,)


async def test_one_that_cannot_be_made_is_noted_and_holds_nothing_up(
    alone: Api, connection: psycopg.Connection
) -> None:
    alone.clock.now = at("2026-03-10T12:00")
    lost, broken, fine = [(await schedule(alone, name=name))["id"] for name in ("lost", "broken", "fine")]
    connection.execute("update store.report_schedule set tz = 'Mars/Base' where id = %s", (lost,))
    connection.execute("update store.report_schedule set days = 'someday' where id = %s", (broken,))
    assert await look(alone, "2026-03-11T06:00") == 1
    assert await look(alone, "2026-03-11T06:10") == 0
    assert await noted(alone, fine) == ["2026-03-11T02:30"]
    ((lost_due,), (broken_due,)) = [await dues(alone, one) for one in (lost, broken)]
    assert (lost_due.status, broken_due.status) == ("missed", "missed")
    assert "Mars/Base" in (lost_due.reason or "")
    assert "an error of the service" in (broken_due.reason or "")
    # It is shown all the same, and goes on once it is put right.
    alone.clock.now = at("2026-03-11T07:00")
    shown = schedule_of(await alone.request("PATCH", f"{SCHEDULES}/{lost}", json={"tz": "Europe/Berlin"}))
    assert shown["next_due"][0] == "2026-03-12T02:30:00+01:00"
    assert await look(alone, "2026-03-12T06:00") == 2


async def test_reports_of_schedules_have_a_bound_of_their_own(alone: Api, connection: psycopg.Connection) -> None:
    alone.clock.now = at("2026-03-10T12:00")
    made = (await schedule(alone))["id"]
    for day in range(11, 11 + 2):
        await look(alone, f"2026-03-{day}T06:00")
    connection.execute(
        "insert into store.report_run (organization, id, type, parameters, format, requested_by, digest, created_at, schedule, period)"
        " select organization, gen_random_uuid(), type, parameters, format, requested_by, sha256(n::text::bytea), created_at, schedule,"
        " period + n * interval '1 year' from store.report_run, generate_series(1, %s) as n where period::date = '2026-03-11'",
        (MOST_SCHEDULED,),
    )
    assert await look(alone, "2026-03-13T06:00") == 0
    last = (await dues(alone, made))[-1]
    assert (last.period.isoformat(), last.status, last.reason) == ("2026-03-13T02:30:00", "missed", FULL)
    # Who asks for one does not stand in that line.
    assert (await alone.request("POST", f"{REPORTS}?wait=0", json={"type": "team"})).status == 202
    # Nor does one who comes after the schedule was deleted; and what it left waiting is waiting still.
    assert (await alone.request("DELETE", f"{SCHEDULES}/{made}")).status == 204
    assert (await alone.request("POST", f"{REPORTS}?wait=0", json={"type": "pnl"})).status == 202
    alone.clock.now = at("2026-03-13T12:00")
    made = (await schedule(alone))["id"]
    assert await look(alone, "2026-03-14T06:00") == 0
    assert [due.reason for due in await dues(alone, made)] == [FULL]


async def test_other_times_count_from_when_they_were_set(alone: Api) -> None:
    alone.clock.now = at("2026-03-10T12:00")
    made = (await schedule(alone))["id"]
    path = f"{SCHEDULES}/{made}"
    await look(alone, "2026-03-11T06:00")
    # Half past ten is over in Berlin; so is what fell into a pause.
    alone.clock.now = at("2026-03-11T10:00")
    assert (
        schedule_of(await alone.request("PATCH", path, json={"cron": "30 10 * * *"}))["next_due"][0]
        == "2026-03-12T10:30:00+01:00"
    )
    assert await look(alone, "2026-03-11T10:30") == 0
    assert schedule_of(await alone.request("PATCH", path, json={"paused": True}))["next_due"] == []
    assert await look(alone, "2026-03-20T10:00") == 0
    alone.clock.now = at("2026-03-20T10:00")
    await alone.request("PATCH", path, json={"paused": False})
    assert await look(alone, "2026-03-20T10:01") == 0
    # Another name is no other time: what is due stays due.
    alone.clock.now = at("2026-03-21T10:00")
    await alone.request(
        "PATCH", path, json={"name": "Other", "recipients": [{"kind": "mail", "address": "a@example.com"}]}
    )
    assert await look(alone, "2026-03-21T10:00") == 1
    assert await noted(alone, made) == ["2026-03-11T02:30", "2026-03-21T10:30"]
    # In another zone the same local time of the same day is known.
    alone.clock.now = at("2026-03-21T10:01")
    await alone.request("PATCH", path, json={"tz": "America/New_York"})
    await look(alone, "2026-03-22T10:00")
    assert await noted(alone, made) == ["2026-03-11T02:30", "2026-03-21T10:30"]


async def test_schedulers_that_run_hear_of_a_schedule_and_fire_it_once(alone: Api) -> None:
    """Made in the past of the schedulers' clock, it is due at once."""
    heard: asyncio.Queue[UUID] = asyncio.Queue()
    database = alone.services.database
    listener = NoticeListener(database, (REPORT_ASKED,), lambda _, run: heard.put_nowait(UUID(run)), lambda: None)
    await listener.start()
    try:
        alone.clock.now = utc_now() - timedelta(days=2)
        before = (await schedule(alone, cron="@daily"))["id"]
        async with housekeeping(database), housekeeping(database), asyncio.timeout(8):
            first = await heard.get()
            while_it_runs = (await schedule(alone, cron="@daily"))["id"]
            second = await heard.get()
    finally:
        await listener.stop()
    for one, run in ((before, first), (while_it_runs, second)):
        made = [due for due in await dues(alone, one) if due.status == "made"]
        assert [due.report for due in made] == [run]
    assert heard.empty()
