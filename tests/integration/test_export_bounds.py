"""What exports may take: time, room on the disk, places; and what is left when one is given up."""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
from pathlib import Path

import aiohttp
import pytest

from api.exports.bounds import ExportBounds
from tests.integration.api_service import NOON, another, running
from tests.integration.export_reader import LONG, Slow


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
