"""Exports on the line: whole from one snapshot, or visibly broken."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime

import aiohttp
import psycopg
import pytest

from tests.integration.api_service import NOON, Api
from tests.integration.export_reader import LONG, Slow


async def test_rows_are_read_as_the_reader_takes_them_from_one_snapshot(many: Api) -> None:
    async with Slow(many, **{**LONG, "from_": "2025-05-01"}, measures="count") as slow:
        lines = [await slow.answer.content.readline() for _ in range(3)]
        assert lines[:2] == [b"time,count\r\n", b"2025-05-01T00:00:00+00:00,0\r\n"]
        found = await slow.status()
        assert (found["status"], found["rows"], found["sha256"]) == ("running", None, None)
        # What is sent meanwhile is in no row of it.
        await many.send([many.system("web", datetime(2025, 12, 31, 23, 59, tzinfo=UTC), cpu_usage=1)])
        last = b""
        digest = hashlib.sha256(b"".join(lines))
        async for piece in slow.answer.content.iter_any():
            digest.update(piece)
            last = (last + piece)[-200:]
        assert last.endswith(b"\r\n2025-12-31T23:59:00+00:00,0\r\n")
        found = await slow.ended()
        assert (found["status"], found["sha256"]) == ("complete", digest.hexdigest())
        assert found["rows"] == (datetime(2026, 1, 1) - datetime(2025, 5, 1)).days * 1_440  # noqa: DTZ001


async def test_a_database_that_dies_in_the_middle_breaks_the_transfer(many: Api, service_database: str) -> None:
    hosts = [f"host {n} {'x' * 150}" for n in range(9_000)]
    await many.send([many.system(host, NOON, cpu_usage=1) for host in hosts])
    async with Slow(many, rollup="system_metrics", group_by="host") as slow:
        assert await slow.answer.content.readline()
        with psycopg.connect(service_database, autocommit=True) as connection:
            ended = connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'streamgauge export'"
                " and datname = current_database()"
            ).fetchall()
        assert ended == [(True,)]
        with pytest.raises(aiohttp.ClientError):
            await slow.answer.content.read()
        found = await slow.ended()
        assert (found["status"], found["error"]) == ("failed", "the database was lost in the middle")
        assert (found["rows"], found["bytes"], found["sha256"]) == (None, None, None)


async def test_a_reader_who_goes_away_is_told_of(many: Api) -> None:
    async with Slow(many, **LONG) as slow:
        await slow.answer.content.readline()
        slow.answer.close()
        assert (await slow.ended())["error"] == "the reader went away"


async def test_a_reader_of_http_1_0_gets_a_length(many: Api) -> None:
    host, port = many.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    asked = "rollup=trade_pnl&group_by=symbol&measures=net"
    key = f"Authorization: {many.headers['Authorization']}"
    head = f"GET /api/v1/exports?{asked} HTTP/1.0\r\nHost: x\r\n{key}\r\n\r\n"
    await many.send([many.trade(NOON, "-1.5", symbol="=x")])
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert b"Content-Length: 22\r\n" in answer
    assert answer.endswith(b"\r\n\r\nsymbol,net\r\n'=x,-1.5\r\n")
