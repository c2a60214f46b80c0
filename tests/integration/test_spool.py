"""The spool's file: what waited survives the collector."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from structlog.testing import capture_logs

from ingest.collectors.spool import Spool
from ingest.events import System, SystemEvent


def events(first: int, last: int) -> list[SystemEvent]:
    return [
        SystemEvent(
            specversion="1.0",
            id=str(number),
            source="host/a#1",
            time=dt.datetime(2026, 1, 5, tzinfo=dt.UTC),
            data=System(host="a", metrics={"cpu_usage": 1.5}),
            sequence=number,
        )
        for number in range(first, last + 1)
    ]


def numbers(spool: Spool) -> list[int | str | None]:
    return [event.sequence for event in spool.first(10_000)]


def test_a_new_collector_begins_with_what_the_last_one_left(tmp_path: Path) -> None:
    file = tmp_path / "spool.ndjson"
    first = Spool(max_events=100, file=file)
    first.put(events(1, 5))
    first.put(events(6, 7))
    second = Spool(max_events=100, file=file)
    assert second.first(10) == events(1, 7)


def test_what_was_sent_is_gone_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "spool.ndjson"
    spool = Spool(max_events=100, file=file)
    spool.put(events(1, 5))
    spool.remove(spool.first(3))
    assert numbers(spool) == [4, 5]
    spool.remove(spool.first(3))
    assert file.stat().st_size == 0
    assert len(Spool(max_events=100, file=file)) == 0


def test_a_line_torn_by_a_crash_is_told_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "spool.ndjson"
    Spool(max_events=100, file=file).put(events(1, 3))
    file.write_bytes(file.read_bytes()[:-20])
    with capture_logs() as logs:
        spool = Spool(max_events=100, file=file)
    assert numbers(spool) == [1, 2]
    assert spool.dropped == 1
    assert [(one["event"], one["line"]) for one in logs] == [("spool_line_unreadable", 3)]
    spool.put(events(3, 3))
    assert numbers(Spool(max_events=100, file=file)) == [1, 2, 3]


def test_the_file_is_as_bounded_as_the_queue(tmp_path: Path) -> None:
    file = tmp_path / "spool.ndjson"
    spool = Spool(max_events=50, file=file)
    line = 0
    with capture_logs() as logs:
        for number in range(1, 6_000):
            spool.put(events(number, number))
            line = line or file.stat().st_size
    assert file.stat().st_size <= 2_001 * (line + 10)
    assert spool.dropped == 5_949
    assert {one["event"] for one in logs} == {"spool_full"}
    with capture_logs():
        assert numbers(Spool(max_events=50, file=file)) == list(range(5_950, 6_000))


def test_a_disk_that_fails_is_told_once_and_events_wait_in_memory(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    file = folder / "spool.ndjson"
    spool = Spool(max_events=100, file=file)
    folder.rmdir()
    with capture_logs() as logs:
        spool.put(events(1, 1))
        spool.put(events(2, 2))
    assert [one["event"] for one in logs] == ["spool_file_failed"]
    assert numbers(spool) == [1, 2]
    folder.mkdir()
    spool.put(events(3, 3))
    assert numbers(Spool(max_events=100, file=file)) == [1, 2, 3], "all that waits is written once the disk is back"
