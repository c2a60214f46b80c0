"""What exports may take: time, room on the disk, places; and what is left when one is given up."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp
import polars as pl
import psutil
import pytest

from api.exports.bounds import ExportBounds
from api.exports.folders import Folder
from api.exports.spool import RowFiles
from storage.rollup_stream import StreamColumn
from tests.integration.api_service import NOON, another, running, until
from tests.integration.export_reader import LONG, Slow
from tests.service_process import ROOT


async def test_a_workbook_that_nobody_waits_for_any_more_is_given_up(
    service_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with running(service_database, exports=ExportBounds(longest_s=4.0)) as api:
        await api.send([api.system("web", NOON, cpu_usage=1)])
        asked = {**LONG, "from_": "2024-06-01"}
        reply = await api.get("/api/v1/exports", format="xlsx", **asked)
        assert (reply.status, reply.json["detail"]) == (504, "it took longer than 4 s")
        # Whoever wrote it has ended, and its place is free.
        assert not [process for process in multiprocessing.active_children() if process.is_alive()]
        assert not any(tmp_path.iterdir())  # noqa: ASYNC240
        assert (await api.get("/api/v1/exports", rollup="trade_pnl", format="xlsx")).status == 200
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        (ExportBounds(grace_s=0.3), "the reader was too slow"),
        (ExportBounds(longest_s=1.0), "it took longer than 1 s"),
    ],
)
async def test_who_takes_too_long_is_cut(service_database: str, bounds: ExportBounds, reason: str) -> None:
    async with running(service_database, exports=bounds) as api:
        await api.send([api.system("web", NOON, cpu_usage=1)])
        async with Slow(api, **LONG) as slow:
            assert (await slow.ended())["error"] == reason
            with pytest.raises(aiohttp.ClientError):
                await slow.answer.content.read()


async def test_so_many_at_once_and_no_more(service_database: str) -> None:
    async with running(service_database, exports=ExportBounds(at_once=2, per_organization=1)) as api:
        await api.send([api.system("web", NOON, cpu_usage=1)])
        async with another(api, "Second") as second, another(api, "Third") as third, Slow(api, **LONG):
            reply = await api.get("/api/v1/exports", rollup="trade_pnl")
            assert (reply.status, reply.headers["Retry-After"]) == (429, "10")
            async with Slow(second, **{**LONG, "group_by": ""}):
                reply = await third.get("/api/v1/exports", rollup="trade_pnl")
                assert (reply.status, reply.headers["Retry-After"]) == (503, "10")
        async with asyncio.timeout(10):
            while (await api.get("/api/v1/exports", rollup="trade_pnl")).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # until the service has seen that the readers are gone


async def test_a_stop_ends_what_is_under_way_and_says_so(
    service_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with AsyncExitStack() as service:
        first = await service.enter_async_context(running(service_database))
        await first.send([first.system("web", NOON, cpu_usage=1)])
        # The reader's own session outlives the service.
        async with Slow(first, **LONG) as slow, aiohttp.ClientSession(headers=first.headers) as session:
            asked = {
                "rollup": "system_metrics",
                "format": "parquet",
                "grain": "1m",
                "fill": "zero",
                "from": "2005-01-01",
            }
            made = asyncio.create_task(session.get(first.url + "/api/v1/exports", params=asked))
            await until(lambda: any(tmp_path.glob("*/*.arrow")))
            began = time.monotonic()
            stopped = asyncio.create_task(service.aclose())
            with pytest.raises(aiohttp.ClientError):
                await slow.answer.content.read()
            reply = await made
            assert (reply.status, (await reply.json())["detail"]) == (503, "the service stopped")
            await stopped
            assert time.monotonic() - began < 4
            assert not any(tmp_path.iterdir())  # noqa: ASYNC240
    async with running(service_database, known=first) as again:
        found = (await again.get(f"/api/v1/exports/{slow.answer.headers['X-Export-ID']}")).json
        assert (found["status"], found["error"]) == ("failed", "the service stopped")


async def test_what_is_too_large_for_its_format_is_refused_before_anything_is_sent(service_database: str) -> None:
    async with running(service_database, exports=ExportBounds(spool_bytes=100_000)) as api:
        await api.send([api.system("web", NOON, cpu_usage=1)])
        reply = await api.get("/api/v1/exports", format="parquet", measures="count", **LONG)
        assert (reply.status, reply.json["parameter"]) == (422, "format")
        assert "no room" in reply.json["detail"]
    async with running(service_database, exports=ExportBounds(sheet_rows=1_000)) as api:
        await api.send([api.system("web", NOON, cpu_usage=1)])
        reply = await api.get("/api/v1/exports", format="xlsx", measures="count", **LONG)
        assert (reply.status, reply.json["parameter"]) == (422, "format")
        assert "1,000 rows" in reply.json["detail"]


async def test_what_a_killed_process_left_on_the_disk_goes_with_the_next_start(
    service_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    kept = tmp_path / "kept"
    for place in (kept, tmp_path / "temporary", tmp_path / "temporary" / "streamgauge-export-left"):
        place.mkdir()
        (place / "file").touch()
    (tmp_path / "temporary" / "streamgauge-export-link").symlink_to(kept)
    (tmp_path / "temporary" / "streamgauge-export-file").touch()
    under_way = Folder()
    async with running(service_database):
        pass
    assert sorted(path.name for path in (tmp_path / "temporary").iterdir()) == sorted(
        ["file", "streamgauge-export-link", "streamgauge-export-file", under_way.place.name]
    )
    assert (kept / "file").exists()
    under_way.remove()
    under_way.remove()
    assert not under_way.place.exists()


async def test_a_full_disk_is_a_matter_of_trying_again(service_database: str) -> None:
    async with running(service_database, exports=ExportBounds(spare_bytes=2**60)) as api:
        await api.send([api.system("web", NOON, cpu_usage=1)])
        asked = {**LONG, "from_": "2025-12-01", "measures": "count"}
        for form in ("parquet", "xlsx"):
            reply = await api.get("/api/v1/exports", format=form, **asked)
            assert (reply.status, reply.headers["Retry-After"]) == (503, "30"), reply.text
            assert reply.json["detail"] == "there was no room on the disk"
        assert (await api.get("/api/v1/exports", **asked)).status == 200


def test_a_table_that_is_given_up_is_not_written_to_its_end(tmp_path: Path) -> None:
    files = RowFiles(tmp_path, [StreamColumn("host", "text")])
    for _ in range(3):
        files.add([["web"]] * 20_000)
    answers = iter([False, True])
    files.csv(tmp_path / "whole", lambda rows: b"%d\n" % len(rows), ZoneInfo("UTC"), lambda: next(answers))
    assert (tmp_path / "whole").read_bytes() == b"1\n500\n"


_WRITING = """
import sys
from pathlib import Path
from jobs.export_workbook import write_workbook
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    parts = [folder / "rows.arrow"] * 2_000
    write_workbook(folder / "whole", "rows", [("host", "text", False)], parts, "UTC", lambda: False)
"""


def test_who_writes_a_workbook_ends_with_who_asked_for_it(tmp_path: Path) -> None:
    pl.DataFrame({"host": ["web"] * 500}).write_ipc(tmp_path / "rows.arrow")
    (tmp_path / "asking.py").write_text(_WRITING)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    asking = subprocess.Popen([sys.executable, str(tmp_path / "asking.py"), str(tmp_path)], env=environment)
    with asking:
        deadline = time.monotonic() + 30
        while len(found := list(tmp_path.iterdir())) < 3:
            assert time.monotonic() < deadline, found
        children = psutil.Process(asking.pid).children(recursive=True)
        asking.kill()
    assert children
    assert psutil.wait_procs(children, timeout=20)[1] == []
    assert not (tmp_path / "whole").exists()
