"""`streamgauge rebuild` while events keep coming and people keep reading: nobody sees a rollup that is half rebuilt."""

from __future__ import annotations

import datetime as dt
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
from rich.console import Console

from aggregators.definitions import ROLLUPS
from front.maintenance import rebuild_command
from front.settings import Settings
from storage.recompute import rebuild
from storage.sink import DatabaseSink
from tests.integration.stored import found_differences, organizations
from tests.samples import START, batches, system, trade

GRAINS = ("1m", "15m", "1h", "1d")


def test_readers_see_sums_that_only_grow_and_agree_at_every_grain(database_url: str) -> None:
    owners = organizations(database_url, 1)
    sink = DatabaseSink(database_url, ROLLUPS)
    days = [START + dt.timedelta(days=n) for n in range(3)]
    sink.write(batches([system(f"{n}", time=days[n % 3].isoformat()) for n in range(300)], owners))
    rebuilt = threading.Event()

    def reader() -> list[tuple[int, ...]]:
        counts = ", ".join(f"(select sum(count)::bigint from store.rollup_system_metrics_{grain})" for grain in GRAINS)
        seen = []
        with psycopg.connect(database_url, autocommit=True) as connection:
            while not rebuilt.is_set():
                # A statement is one snapshot: what it sees is what a reader of the API sees.
                row = connection.execute(f"select {counts}").fetchone()
                assert row is not None
                seen.append(row)
        return seen

    def writer() -> int:
        number = 0
        while not rebuilt.is_set():
            sink.write(batches([system(f"live {number}", time=days[number % 3].isoformat())], owners))
            number += 1
        return number

    with ThreadPoolExecutor(3) as pool:
        reading, writing = [pool.submit(reader) for _ in range(2)], pool.submit(writer)
        try:
            for _ in range(6):
                done = rebuild(database_url, ROLLUPS, days[0], days[2] + dt.timedelta(hours=1), lambda *_: None)
                assert done == 3 * sum(rollup.event == "system" for rollup in ROLLUPS)
        finally:
            rebuilt.set()
        live = writing.result(30)
        for seen in (one.result(30) for one in reading):
            assert len(seen) > 3
            assert all(len(set(row)) == 1 for row in seen), "grains of one snapshot disagree"
            totals = [row[0] for row in seen]
            assert totals == sorted(totals)
            assert totals[0] >= 300
    sink.close()
    assert live > 0
    assert found_differences(database_url) == []
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select sum(count) from store.rollup_system_metrics_1d").fetchone() == (300 + live,)


def test_the_progress_of_each_rollup_is_shown(database_url: str) -> None:
    owners = organizations(database_url, 1)
    sink = DatabaseSink(database_url, ROLLUPS)
    days = [START + dt.timedelta(days=n) for n in range(4)]
    samples = [system(f"{n}", time=day.isoformat()) for n, day in enumerate(days)]
    sink.write(batches([*samples, trade("t")], owners))
    sink.close()
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100)
    assert rebuild_command(Settings(database_url=database_url), days[0], None, [], console) == 0
    lines = [line for line in shown.getvalue().splitlines() if "rebuild" in line]
    assert any("system_metrics" in line and "4/4" in line for line in lines)
    assert any("trade_pnl" in line and "1/1" in line for line in lines)
    only = io.StringIO()
    console = Console(file=only, force_terminal=True, width=100)
    rebuild_command(Settings(database_url=database_url), days[0], None, ["system_metrics"], console)
    assert "trade_pnl" not in only.getvalue()
