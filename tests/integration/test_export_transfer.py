"""Exports on the line: whole from one snapshot, or visibly broken."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import aiohttp
import psycopg
import pytest

from aggregators.rollup import Measure
from api.exports.bounds import ExportBounds
from storage import rollup_query, rollup_stream
from storage.rollup_query import Plan, Question, planned
from storage.rollup_stream import Fetched, RowStream
from tests.integration.api_service import NOON, Api, running
from tests.integration.export_reader import LONG, Slow, exported, manifest_of


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


class Impatient(ExportBounds):
    """A server that takes who is silent for a second for gone."""

    silent_s = 1.0
    heard_s = 0.2


async def test_half_a_year_of_empty_buckets_between_two_rows_is_no_silence(service_database: str) -> None:
    async with running(service_database, exports=Impatient()) as api:
        await api.send([api.system("web", NOON, cpu_usage=1)])
        asked = {"grain": "1m", "fill": "zero", "from_": "2025-09-01", "to": "2026-03-11", "measures": "count"}
        for form in ("csv", "parquet"):
            reply = await exported(api, "system_metrics", format=form, **asked)
            assert (await manifest_of(api, reply))["rows"] == 191 * 1_440


async def test_fewer_rows_are_fetched_at_once_where_their_sketches_are_long(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.send([api.system(f"h{n}", NOON - timedelta(hours=n % 60), cpu_usage=n) for n in range(900)])
    sizes: list[int] = []
    fetch = RowStream.fetch

    async def noted(stream: RowStream) -> Fetched:
        found = await fetch(stream)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(RowStream, "fetch", noted)
    asked = {"group_by": "host", "grain": "1h", "measures": "p50,p95", "from_": "2026-03-01"}
    whole = await exported(api, "system_metrics", **asked)
    assert (max(sizes) > 200, sum(sizes)) == (True, 900)
    sizes.clear()
    monkeypatch.setattr(rollup_stream, "MOST_BYTES", 20)
    assert (await exported(api, "system_metrics", **asked)).body == whole.body
    assert (sum(sizes), max(sizes[1:]) < 20) == (900, True)


async def test_the_days_of_a_century_are_found_beside_the_event_loop(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def noted(question: Question, needed: Sequence[Measure]) -> Plan:
        threads.append(threading.current_thread())
        return planned(question, needed)

    monkeypatch.setattr(rollup_query, "planned", noted)
    asked = {"grain": "1d", "from_": "2000-01-02", "to": "2099-12-30", "tz": "Pacific/Apia", "measures": "net"}
    assert (await exported(api, "trade_pnl", **asked)).text == "time,net\r\n"
    assert (await api.query("trade_pnl", **asked)).rows == []
    assert len(threads) == 2
    assert threading.main_thread() not in threads


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
