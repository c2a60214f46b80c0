"""A sink that dies at any step: what was not committed is counted by the retry, what was committed is not counted again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from aggregators.definitions import ROLLUPS
from storage.sink import DatabaseSink
from tests.integration.sink_process import group
from tests.integration.stored import count, found_differences, organizations, rollup_rows, scalar
from tests.one_pass import differences, one_pass
from tests.samples import batches
from tests.service_process import ROOT, wait_until


@contextmanager
def sink_process(url: str, owner: UUID, how: str) -> Iterator[subprocess.Popen[str]]:
    """The process, which is gone at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.sink_process", url, str(owner), how],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """What the process says next; log lines of the sink are passed over."""
    assert process.stdout is not None
    return next((text.strip() for text in process.stdout if text.strip() in ("first", "second")), "")


def retried(url: str, owner: UUID, *, counted: int) -> None:
    """A new sink gets both groups again: `counted` of their ten events are new, and in the end each counts once."""
    sink = DatabaseSink(url, ROLLUPS)
    try:
        outcome = sink.write(batches([*group(0), *group(1)], [owner]))
        again = sink.write(batches([*group(0), *group(1)], [owner]))
    finally:
        sink.close()
    assert (outcome.counted, outcome.known) == (counted, 10 - counted)
    assert (again.counted, again.known) == (0, 10)
    assert differences(one_pass([*group(0), *group(1)], [owner]), rollup_rows(url, [owner])) == []
    assert found_differences(url) == []


def test_a_process_that_ends_before_the_commit(database_url: str) -> None:
    (owner,) = organizations(database_url, 1)
    with sink_process(database_url, owner, "exit") as process:
        assert line(process) == "first"
        assert process.wait(30) == 9
    assert count(database_url, "system") == 2
    retried(database_url, owner, counted=5)


def test_a_process_killed_after_the_commit_and_before_its_answer(database_url: str) -> None:
    (owner,) = organizations(database_url, 1)
    with sink_process(database_url, owner, "wait") as process:
        assert [line(process), line(process)] == ["first", "second"]
        process.kill()
    retried(database_url, owner, counted=0)


@pytest.mark.parametrize("step", ["ledger", "event_trade", "rollup_system_metrics_15m", "feed"])
def test_a_process_killed_in_the_middle_of_a_step(database_url: str, step: str) -> None:
    (owner,) = organizations(database_url, 1)
    with sink_process(database_url, owner, "wait") as process:
        with psycopg.connect(database_url) as blocker:
            # The lock is asked for until it is had between two transactions of the sink, or before its first.
            blocker.execute(SQL("lock table {} in share mode").format(Identifier("store", step)))
            wait_until(lambda: _waits_for(database_url, step), f"the sink to reach {step}")
            process.kill()
            process.wait(30)
        wait_until(lambda: not _sinks(database_url), "the dead process's connection to end")
    before = count(database_url, "system")
    assert before in (0, 2)
    retried(database_url, owner, counted=10 - before // 2 * 5)


def _waits_for(url: str, table: str) -> bool:
    return bool(
        scalar(
            url,
            "select count(*) from pg_locks where not granted and relation = to_regclass(%s)",
            (f"store.{table}",),
        )
    )


def _sinks(url: str) -> int:
    return int(
        scalar(
            url,
            "select count(*) from pg_stat_activity"
            " where application_name = 'streamgauge sink' and datname = current_database()",
        )
    )
