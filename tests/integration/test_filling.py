"""A measure that is declared after events came: not answered until it holds all of them, filled once, whatever interrupts it."""

from __future__ import annotations

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID

import polars as pl
import psycopg
import pytest

from aggregators.definitions import BY_NAME, ROLLUPS
from aggregators.definitions.system import SYSTEM_METRICS
from aggregators.definitions.trade import TRADE_PNL
from aggregators.rollup import Measure, Rollup
from front.filling import filling
from storage.database import StorageUnavailable
from storage.filling import fill
from storage.migrate import migrate
from storage.recompute import verify
from storage.sink import DatabaseSink
from tests.integration.api_service import NOON, Api, running, until
from tests.integration.stored import organizations, rows, run, scalar
from tests.samples import Sample, batches, system

SQUARES = Measure("squares", (pl.col("value") ** 2).sum(), "double precision", "Sum of the squares.")
SQUARED = replace(SYSTEM_METRICS, measures=(*SYSTEM_METRICS.measures, SQUARES))
DAYS = 4


class Stopped(Exception):
    """Somebody stops the filling."""


def never(seconds: float) -> bool:
    """Waits as it is told and does not stop."""
    return threading.Event().wait(seconds)


def quiet(*_: object) -> None:
    """No progress."""


def stopping_after(days: int) -> Any:
    """A progress that stops the filling after so many days."""

    def progress(name: str, done: int, total: int) -> None:
        if done == days and done < total:
            raise Stopped

    return progress


def with_squares(rollups: tuple[Rollup, ...] = ROLLUPS) -> list[Rollup]:
    """The declarations, in which hosts' measurements have gained a measure."""
    return [SQUARED if rollup.name == SQUARED.name else rollup for rollup in rollups]


def a_day_each() -> list[Sample]:
    """A measurement of 3 on each of some days."""
    return [system(f"d{n}", 3.0, time=(NOON - dt.timedelta(days=n)).isoformat()) for n in range(DAYS)]


def written(url: str, rollups: list[Rollup], samples: list[Sample], owners: list[UUID]) -> None:
    """The samples through a sink of these declarations."""
    sink = DatabaseSink(url, rollups)
    sink.write(batches(samples, owners))
    sink.close()


async def test_only_what_is_not_filled_is_not_answered(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(database_url) as api:
        written(database_url, list(ROLLUPS), a_day_each(), [api.organization])
        monkeypatch.setitem(BY_NAME, SQUARED.name, SQUARED)
        assert migrate(database_url, with_squares()) == ["system_metrics"]
        written(database_url, with_squares(), [system("new", 5.0, time=NOON.isoformat())], [api.organization])

        async def asked(measures: str) -> Any:
            return await api.query("system_metrics", measures=measures, **RANGE)

        for measures in ("squares", "avg,squares", ""):
            reply = await asked(measures)
            assert (reply.status, reply.headers["Content-Type"]) == (503, "application/problem+json")
            assert int(reply.headers["Retry-After"]) > 0
            assert reply.json["detail"].startswith("system_metrics: squares is being filled")
        assert (await asked("count,last")).rows == [[DAYS + 1, 5]]
        assert (await api.get("/api/v1/dashboard/stats")).status == 200
        refused = await api.get("/api/v1/stream", rollup="system_metrics", measures="squares")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        async with api.stream(rollup="system_metrics", measures="count", **RANGE) as stream:
            told = await stream.next()
            assert told is not None
            assert told[1]["rows"] == [[DAYS + 1]]

        with pytest.raises(Stopped):
            fill(database_url, [SQUARED], stopping_after(1), never)
        assert "1 of 4 days are done" in (await asked("squares")).json["detail"]
        assert migrate(database_url, with_squares()) == ["system_metrics"]
        seen: list[tuple[int, int]] = []
        fill(database_url, [SQUARED], lambda _, done, total: seen.append((done, total)), never)
        assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
        assert (await asked("squares,count")).rows == [[DAYS * 9 + 25, DAYS + 1]]
    assert migrate(database_url, with_squares()) == []
    assert list(verify(database_url, with_squares(), None, None, quiet)) == []


RANGE = {"from_": (NOON - dt.timedelta(days=10)).isoformat(), "to": (NOON + dt.timedelta(days=1)).isoformat()}


async def test_the_dashboard_and_the_board_wait_for_what_they_show(database_url: str) -> None:
    async with running(database_url) as api:
        await api.send([api.view("view"), api.enterprise(green_score=1)])
        run(
            database_url,
            """update store.rollup set filled = false, days_done = 3, days = 9, unfilled = '{"1d": ["last", "views"]}'"""
            " where name in ('enterprise_metrics', 'video_engagement')",
        )
        for path, missing in (("/api/v1/dashboard/stats", "last"), ("/users/top", "views")):
            reply = await api.get(path)
            assert reply.status == 503
            told = reply.json["message" if path.startswith("/users") else "detail"]
            assert f"{missing} is being filled" in told
            assert "3 of 9 days" in told
        assert (await query_of(api)).status == 200


async def query_of(api: Api) -> Any:
    """A question that needs nothing of what is not filled."""
    return await api.query("enterprise_metrics", measures="count", filter="metric:green_score")


async def test_a_new_grain_is_used_once_it_is_filled(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hourly = replace(TRADE_PNL, grains=("15m", "1h", "1d"))
    declared = [hourly if rollup.name == hourly.name else rollup for rollup in ROLLUPS]
    async with running(database_url) as api:
        await api.send([api.trade(NOON - dt.timedelta(hours=2), "7"), api.trade(NOON - dt.timedelta(days=2), "8")])
        monkeypatch.setitem(BY_NAME, hourly.name, hourly)
        assert migrate(database_url, declared) == ["trade_pnl"]
        before = await api.query("trade_pnl", measures="net", grain="1h", **RANGE)
        assert [row[1] for row in before.rows] == [8, 7]
        fill(database_url, [hourly], quiet, never)
        assert (await api.query("trade_pnl", measures="net", grain="1h", **RANGE)).rows == before.rows
        run(database_url, 'update store."rollup_trade_pnl_1h" set net = 100')
        # No event changed that, so a kept answer would go on for a while.
        assert (await api.request("POST", "/cache/invalidate")).status == 200
        assert [row[1] for row in (await api.query("trade_pnl", measures="net", grain="1h", **RANGE)).rows] == [
            100,
            100,
        ]


def test_a_measure_that_means_something_else_is_filled_again_and_the_others_are_not(database_url: str) -> None:
    owners = organizations(database_url, 1)
    written(database_url, list(ROLLUPS), a_day_each(), owners)
    largest = next(m for m in SYSTEM_METRICS.measures if m.name == "max")
    doubled = replace(largest, value=pl.col("value").max() * 2)
    changed = replace(
        SYSTEM_METRICS,
        measures=tuple(doubled if m is largest else m for m in SYSTEM_METRICS.measures),
        lookup=("host",),
    )
    assert migrate(database_url, [changed, *ROLLUPS[1:]]) == ["system_metrics"]
    gaps = scalar(database_url, "select unfilled from store.rollup where name = 'system_metrics'")
    assert gaps == {grain: ["max"] for grain in SYSTEM_METRICS.grains}
    fill(database_url, [changed], quiet, never)
    assert rows(database_url, "select distinct max from store.rollup_system_metrics_1h") == [(6.0,)]
    # Another index alone changes no figure.
    indexed = replace(changed, lookup=("metric", "host"))
    assert migrate(database_url, [indexed, *ROLLUPS[1:]]) == []


def test_several_processes_fill_each_day_once(database_url: str) -> None:
    owners = organizations(database_url, 1)
    written(database_url, list(ROLLUPS), a_day_each(), owners)
    migrate(database_url, with_squares())
    done: list[int] = []

    def filler(_: int) -> None:
        fill(
            database_url, [SQUARED], lambda _, at, total: done.append(at) if at < total else None, lambda _: never(0.05)
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(filler, range(4)))
    assert sorted(done) == list(range(DAYS))
    assert list(verify(database_url, with_squares(), None, None, quiet)) == []


def test_another_process_goes_on_where_one_dies(database_url: str) -> None:
    owners = organizations(database_url, 1)
    written(database_url, list(ROLLUPS), a_day_each(), owners)
    migrate(database_url, with_squares())

    def dying(name: str, done: int, total: int) -> None:
        if done == 2:
            run(
                database_url,
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where application_name = 'streamgauge fill' and datname = current_database()",
            )

    with pytest.raises(StorageUnavailable):
        fill(database_url, [SQUARED], dying, never)
    seen: list[int] = []
    fill(database_url, [SQUARED], lambda _, done, __: seen.append(done), never)
    assert seen == [2, 3, 4]
    assert list(verify(database_url, with_squares(), None, None, quiet)) == []


def test_a_process_waits_while_another_fills_and_can_be_told_to_stop(database_url: str) -> None:
    written(database_url, list(ROLLUPS), a_day_each(), organizations(database_url, 1))
    migrate(database_url, with_squares())
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("select pg_advisory_lock(731004, hashtext('system_metrics'))")
        waited: list[float] = []

        def stop(seconds: float) -> bool:
            waited.append(seconds)
            return len(waited) == 3

        fill(database_url, [SQUARED], quiet, stop)
        assert len(waited) == 3
    assert scalar(database_url, "select filled from store.rollup where name = 'system_metrics'") is False


def test_events_that_come_during_the_filling_are_in_it_once(database_url: str) -> None:
    owners = organizations(database_url, 1)
    written(database_url, list(ROLLUPS), a_day_each(), owners)
    migrate(database_url, with_squares())
    sink = DatabaseSink(database_url, with_squares())

    def arriving(name: str, done: int, total: int) -> None:
        # Between two days: one event for a day that is done, one for a day that is not, one for a day that had none.
        for days in (0, DAYS - 1, DAYS + 3 + done):
            time = NOON - dt.timedelta(days=days)
            sink.write(batches([system(f"live {done} {days}", 2.0, time=time.isoformat())], owners))

    fill(database_url, [SQUARED], arriving, never)
    sink.close()
    expected = DAYS * 9 + (DAYS + 1) * 3 * 4
    assert rows(database_url, "select sum(squares), sum(count) from store.rollup_system_metrics_1d") == [
        (expected, DAYS + (DAYS + 1) * 3)
    ]
    assert list(verify(database_url, with_squares(), None, None, quiet)) == []


def test_a_database_of_a_version_that_knew_no_measures_is_taken_as_it_is(database_url: str) -> None:
    written(database_url, list(ROLLUPS), a_day_each(), organizations(database_url, 1))
    run(database_url, "update store.rollup set measures = '{}'")
    assert migrate(database_url, ROLLUPS) == []
    assert scalar(database_url, "select count(*) from store.rollup where measures = '{}'") == 0
    assert migrate(database_url, with_squares()) == ["system_metrics"]
    gaps = scalar(database_url, "select unfilled from store.rollup where name = 'system_metrics'")
    assert gaps == {grain: ["squares"] for grain in SYSTEM_METRICS.grains}


async def test_the_service_fills_in_the_background_also_after_the_database_was_away(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = organizations(database_url, 1)
    written(database_url, list(ROLLUPS), a_day_each(), owners)
    names = migrate(database_url, with_squares())
    monkeypatch.setitem(BY_NAME, SQUARED.name, SQUARED)
    monkeypatch.setattr("front.filling._AGAIN_S", 0.01)

    def filled() -> bool:
        return bool(scalar(database_url, "select filled from store.rollup where name = 'system_metrics'"))

    # Whoever holds the rollup's lock keeps the filling from its first day; meanwhile its connection is lost, twice.
    with psycopg.connect(database_url) as other:
        other.execute("select pg_advisory_xact_lock_shared(731002, hashtext('system_metrics'))")
        async with filling(database_url, names):
            for _ in range(2):
                await until(lambda: bool(scalar(database_url, TERMINATED)))
            assert not filled()
        # Left in the middle, and entered again as the next start does.
        other.rollback()
        async with filling(database_url, names):
            await until(filled, 30)
    assert list(verify(database_url, with_squares(), None, None, quiet)) == []


TERMINATED = (
    "select coalesce(bool_or(pg_terminate_backend(pid, 5000)), false) from pg_stat_activity"
    " where application_name = 'streamgauge fill' and datname = current_database() and wait_event = 'advisory'"
)
