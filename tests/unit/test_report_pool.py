"""The processes that render: any number of reports at once, and one that goes wrong harms no other."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from jobs.reports.pool import RenderFailed, RenderPool
from jobs.reports.render import ROWS_AT_ONCE, Format, packed, render, unpacked
from jobs.reports.report import ReportColumn, ReportTable, Section, TooManyRows
from tests.reports_samples import drawn_charts, listing, report
from tests.service_process import ROOT, wait_until


@pytest.fixture
async def pool() -> AsyncIterator[RenderPool]:
    """Two processes."""
    pool = RenderPool(2)
    yield pool
    await pool.close()


MADE = report((Section("USD", "USD", tables=(listing(30),), charts=drawn_charts()[:2]),))


async def test_reports_are_rendered_as_they_are_here_and_errors_come_back(pool: RenderPool) -> None:
    forms: list[Format] = ["json", "pdf", "excel"]
    for form in forms:
        assert await pool.render(MADE, form) == render(MADE, form)
    made = await asyncio.gather(*(pool.render(MADE, "pdf") for _ in range(16)))
    assert set(made) == {render(MADE, "pdf")}
    large = report((Section(None, "All", tables=(listing(10_001),)),))
    with pytest.raises(TooManyRows, match="10,001"):
        await pool.render(large, "pdf")
    name = ReportTable("t", "T", (ReportColumn("name", "Name"),), [("日",)])
    with pytest.raises(ValueError, match=r"U\+65E5"):
        await pool.render(report((Section(None, "All", tables=(name,)),)), "pdf")
    assert (await pool.render(MADE, "pdf")).startswith(b"%PDF-")


async def test_of_a_workbook_is_told_which_part_is_done(pool: RenderPool) -> None:
    large = report((Section(None, "All", tables=(listing(20_000), listing(3, name="t2"))),))
    rendering = asyncio.ensure_future(pool.render(large, "excel"))
    seen: list[float | None] = []
    while not rendering.done():
        seen.append(pool.done(large))
        await asyncio.sleep(0.001)
    parts = [part for part in seen if part is not None]
    assert seen[0] is None  # not begun
    assert parts == sorted(parts)
    assert len(set(parts)) > 3
    assert 0 < parts[0] < parts[-1] <= 1
    assert pool.done(large) is None
    assert (await rendering)[:2] == b"PK"


async def test_a_process_that_was_ended_is_replaced(pool: RenderPool) -> None:
    before = renderers()
    await pool.render(MADE, "json")
    for process in set(renderers()) - set(before):
        process.kill()
    assert json.loads(await pool.render(MADE, "json"))["title"] == MADE.title


async def test_a_report_that_takes_too_long_is_ended_and_the_next_is_rendered() -> None:
    pool = RenderPool(1, longest_s=1)
    slow = report((Section(None, "All", tables=tuple(listing(2_000, name=f"t{n}") for n in range(5))),))
    with pytest.raises(RenderFailed, match="longer than 1 s"):
        await pool.render(slow, "pdf")
    assert json.loads(await pool.render(MADE, "json"))["title"] == MADE.title
    await pool.close()


async def test_a_process_that_grew_is_replaced() -> None:
    pool = RenderPool(1, largest_mb=1)
    before = set(renderers())
    assert await pool.render(MADE, "json") == await pool.render(MADE, "json")
    await pool.close()
    _, alive = psutil.wait_procs(set(renderers()) - before, timeout=30)
    assert not alive


async def test_who_stops_waiting_leaves_the_process_to_the_next() -> None:
    pool = RenderPool(1)
    for steps in (0, 1, 2, 3, 5, 8):
        waiting = asyncio.ensure_future(pool.render(MADE, "json"))
        for _ in range(steps):
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert json.loads(await pool.render(MADE, "json"))["title"] == MADE.title
    await pool.close()


async def test_who_closes_at_once_does_not_wait_for_the_report() -> None:
    pool = RenderPool(1)
    before = set(renderers())
    slow = report((Section(None, "All", tables=tuple(listing(2_000, name=f"t{n}") for n in range(5))),))
    rendering = asyncio.ensure_future(pool.render(slow, "pdf"))
    async with asyncio.timeout(60):
        while not (begun := set(renderers()) - before):  # noqa: ASYNC110  (a process has no event to wait for)
            await asyncio.sleep(0.01)
    rendering.cancel()
    await pool.close(at_once=True)
    _, alive = psutil.wait_procs(begun, timeout=30)
    assert not alive
    await asyncio.gather(rendering, return_exceptions=True)


ONE_THAT_IS_KILLED = """
import asyncio
from jobs.reports.pool import RenderPool
from tests.unit.test_report_pool import MADE, renderers


async def main():
    pool = RenderPool(1)
    await pool.render(MADE, "json")
    print(*(process.pid for process in renderers()), flush=True)
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_the_processes_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(ONE_THAT_IS_KILLED)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(one)) for one in parent.stdout.readline().split()]
        parent.kill()
    assert children
    wait_until(lambda: all(map(has_ended, children)), "the processes to end")


def test_a_report_travels_in_small_pieces() -> None:
    large = report(
        (
            Section(None, "All", tables=(listing(3), listing(1_234, name="t2"))),
            Section("EUR", "EUR", tables=(listing(0, name="t3"),)),
        )
    )
    pieces = list(packed(large))
    assert len(pieces) == 1 + 1 + -(-1_234 // ROWS_AT_ONCE)
    assert unpacked(pieces) == large


def renderers() -> list[psutil.Process]:
    """The processes that this one has started to render."""
    found = psutil.Process().children(recursive=True)
    return [one for one in found if any("spawn_main" in part for part in one.cmdline())]


def has_ended(process: psutil.Process) -> bool:
    """Whether it is gone; or dead and still listed, where nobody buries it, as in a container without an init."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
