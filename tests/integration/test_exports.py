"""`/api/v1/exports`: the rows of `/api/v1/query`, all of them, in three formats; whole with a manifest that says so, or visibly broken."""

from __future__ import annotations

import asyncio
import base64
import csv
import hashlib
import io
import multiprocessing
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import duckdb
import psycopg
import pytest
from python_calamine import CalamineWorkbook

from api.auth.tokens import OwnTokens
from api.exports.bounds import ExportBounds
from storage import identity
from storage.exports import ABANDONED_AFTER, prune_exports
from tests.integration.api_service import NOON, SECRET, Api, Reply, another, running, small_buffers, utc_now

BERLIN_AUTUMN = datetime(2025, 10, 25, 20, tzinfo=UTC)
WIDE = "123456789012345678.123456789012345678"


async def manifest_of(api: Api, reply: Any) -> Any:
    """The manifest that an answer names."""
    found = await api.get(f"/api/v1/exports/{reply.headers['X-Export-ID']}")
    assert found.status == 200, found.text
    assert reply.headers["Link"] == f'</api/v1/exports/{found.json["id"]}>; rel="describedby"'
    return found.json


async def exported(api: Api, rollup: str, **asked: Any) -> Reply:
    """A whole export, held against its manifest."""
    reply = await api.get("/api/v1/exports", rollup=rollup, **asked)
    assert reply.status == 200, reply.text
    manifest = await manifest_of(api, reply)
    assert (manifest["status"], manifest["error"]) == ("complete", None)
    assert (manifest["bytes"], manifest["sha256"]) == (len(reply.body), hashlib.sha256(reply.body).hexdigest())
    if "Content-Length" in reply.headers:
        digest = base64.b64encode(hashlib.sha256(reply.body).digest()).decode()
        assert reply.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    return reply


async def paged(api: Api, rollup: str, *, limit: int = 1_000, **asked: Any) -> tuple[list[str], list[list[Any]]]:
    """The same by `/api/v1/query`, page by page."""
    rows: list[list[Any]] = []
    more: dict[str, str] = {}
    while True:
        reply = await api.query(rollup, limit=limit, **asked, **more)
        rows += reply.rows
        if reply.json["cursor"] is None:
            return reply.json["columns"], rows
        more = {"cursor": reply.json["cursor"]}


def parquet(body: bytes, place: Path) -> tuple[list[str], list[str], list[tuple[Any, ...]]]:
    """Names, types and rows of a Parquet file, as duckdb reads them."""
    place.write_bytes(body)
    with duckdb.connect() as connection:
        found = connection.read_parquet(str(place))
        names, types = found.columns, [str(kind) for kind in found.types]
        # As microseconds: duckdb would want another library to make a Python time of an instant.
        instants = [name for name, kind in zip(names, types, strict=True) if kind == "TIMESTAMP WITH TIME ZONE"]
        rows = found.project(", ".join(f"epoch_us({n})" if n in instants else f'"{n}"' for n in names)).fetchall()
    if instants:
        assert instants == names[:1]
        rows = [(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row[0]), *row[1:]) for row in rows]
    return names, types, rows


def sheet(body: bytes) -> list[list[Any]]:
    """The cells of a workbook's only sheet, as calamine reads them."""
    book = CalamineWorkbook.from_filelike(io.BytesIO(body))
    (name,) = book.sheet_names
    return book.get_sheet_by_name(name).to_python()


async def trades(api: Api) -> None:
    """Trades through an autumn night in Berlin, with long amounts, without strategies, and with names that are to harm."""
    names = ["=1+1", '+a"b', "-x,y", "@z\nnext", "plain", "äöü"]
    hours = [BERLIN_AUTUMN + timedelta(minutes=45 * n) for n in range(24)]
    await api.send([api.trade(time, f"{n - 9}.1", symbol=names[n % 6]) for n, time in enumerate(hours)])
    await api.send([api.trade(hours[3], WIDE, symbol="wide", strategy="swing") for _ in range(3)])


TRADES: dict[str, Any] = {
    "group_by": "symbol,strategy",
    "measures": "trades,pnl,net,best,worst,win_rate,average_net,profit_factor,average_hold",
    "grain": "1h",
    "from_": "2025-10-25",
    "to": "2025-10-28",
    "tz": "Europe/Berlin",
}


@pytest.mark.parametrize("more", [{}, {"fill": "zero"}, {"grain": "1d"}, {"filter": "symbol:=1+1,wide"}])
async def test_every_format_has_the_rows_values_and_order_of_the_query(
    api: Api, tmp_path: Path, more: dict[str, Any]
) -> None:
    await trades(api)
    asked = {**TRADES, **more}
    if "fill" in more:
        reply = await api.query("trade_pnl", limit=100_000, **asked)
        columns, rows = reply.json["columns"], reply.rows
    else:
        columns, rows = await paged(api, "trade_pnl", limit=7, **asked)
    assert len(rows) > (3 if "filter" in more else 8)
    keys = columns.index("trades")

    table = await exported(api, "trade_pnl", format="csv", **asked)
    whole = await api.query("trade_pnl", limit=100_000, headers={"Accept": "text/csv"}, **asked)
    assert table.text == whole.text
    read = list(csv.reader(io.StringIO(table.text, newline="")))
    assert read[0] == columns
    exact = [[None if cell == "" else Decimal(cell) for cell in row[keys:]] for row in read[1:]]
    assert exact == [row[keys:] for row in rows]

    names, types, found = parquet((await exported(api, "trade_pnl", format="parquet", **asked)).body, tmp_path / "a")
    assert names == columns
    assert types[:4] == ["TIMESTAMP WITH TIME ZONE", "VARCHAR", "VARCHAR", "BIGINT"]
    assert set(types[4:]) == {"DECIMAL(38,18)"}
    assert [(row[0], *row[1:]) for row in found] == [(datetime.fromisoformat(row[0]), *row[1:]) for row in rows]

    cells = sheet((await exported(api, "trade_pnl", format="xlsx", **asked)).body)
    header = [str(name) for name in cells[0]]
    assert header[:2] == ["time (Europe/Berlin)", "time (exact)"]
    assert [row[1] for row in cells[1:]] == [row[0] for row in rows]
    # What has no time of day calamine calls a date.
    assert [str(row[0])[:10] for row in cells[1:]] == [row[0][:10] for row in rows]
    assert [str(row[0])[11:] or "00:00:00" for row in cells[1:]] == [row[0][11:19] for row in rows]
    assert [row[2:4] for row in cells[1:]] == [[row[1].replace("\n", " "), row[2] or ""] for row in rows]
    for at, name in enumerate(columns[keys:], start=keys):
        if f"{name} (exact)" in header:
            shown = [row[header.index(f"{name} (exact)")] for row in cells[1:]]
            assert [Decimal(cell) if cell != "" else None for cell in shown] == [row[at] for row in rows]
        shown = [row[header.index(name)] for row in cells[1:]]
        wanted = ["" if row[at] is None else pytest.approx(float(row[at]), rel=1e-15) for row in rows]
        assert shown == wanted, name
    assert ("pnl (exact)" in header) == any(row[1] == "wide" for row in rows)


async def test_an_amount_that_no_decimal_holds_is_text_with_every_digit(api: Api, tmp_path: Path) -> None:
    top = "999999999999999999.999999999999999999"
    await api.send([api.trade(NOON, top) for _ in range(2_001)])
    (expected,) = (await api.query("trade_pnl", measures="net,best")).rows
    assert len(str(expected[0])) == 41
    asked = {"measures": "net,best"}
    _, types, found = parquet((await exported(api, "trade_pnl", format="parquet", **asked)).body, tmp_path / "a")
    assert (types, found) == (["VARCHAR", "DECIMAL(38,18)"], [(str(expected[0]), Decimal(top))])
    assert (await exported(api, "trade_pnl", **asked)).text == f"net,best\r\n{expected[0]},{top}\r\n"


async def test_every_figure_of_every_rollup_is_exported_as_it_is_answered(api: Api, tmp_path: Path) -> None:
    time = NOON - timedelta(hours=1)
    await api.send([api.system(f"web-{n}", time - timedelta(minutes=7 * n), cpu_usage=n / 7) for n in range(1_200)])
    await api.send([api.enterprise(time, revenue_generated="1.5", team=None), api.enterprise(time, team="ml", x=2)])
    await api.send([api.view("view", time, watch_ms=1000), api.view("complete", time)])
    await api.send([api.system("web/api GET /x", time, **{"api.request_time": 12.5, "api.requests": 3})])
    for entry in (await api.get("/api/v1/rollups")).json["rollups"]:
        names = ",".join(m["name"] for m in entry["measures"])
        asked = {"measures": names, "group_by": ",".join(entry["keys"]), "from_": "2026-03-01", "grain": "1d"}
        columns, rows = await paged(api, entry["name"], **asked)
        table = await exported(api, entry["name"], **asked)
        whole = await api.query(entry["name"], limit=100_000, headers={"Accept": "text/csv"}, **asked)
        assert table.text == whole.text, entry["name"]
        names, _, found = parquet(
            (await exported(api, entry["name"], format="parquet", **asked)).body, tmp_path / entry["name"]
        )
        assert names == columns
        assert [[row[0].isoformat(), *row[1:]] for row in found] == [
            [row[0], *(float(v) if isinstance(f, float) else v for v, f in zip(row[1:], got[1:], strict=True))]
            for row, got in zip(rows, found, strict=True)
        ]


async def test_an_empty_answer_is_a_file_with_its_columns(api: Api, tmp_path: Path) -> None:
    asked = {"group_by": "symbol", "measures": "net", "grain": "1d", "from_": "2001-01-01", "to": "2001-02-01"}
    assert (await exported(api, "trade_pnl", **asked)).text == "time,symbol,net\r\n"
    names, types, found = parquet((await exported(api, "trade_pnl", format="parquet", **asked)).body, tmp_path / "a")
    assert (names, found) == (["time", "symbol", "net"], [])
    assert types == ["TIMESTAMP WITH TIME ZONE", "VARCHAR", "DECIMAL(38,18)"]
    book = await exported(api, "trade_pnl", format="xlsx", **asked)
    assert sheet(book.body) == [["time (UTC)", "time (exact)", "symbol", "net"]]
    assert (await manifest_of(api, book))["rows"] == 0


async def test_the_manifest_tells_what_was_read(api: Api) -> None:
    await trades(api)
    reply = await exported(api, "trade_pnl", **{**TRADES, "filter": "symbol:wide"})
    manifest = await manifest_of(api, reply)
    assert manifest["question"] == {
        "from": "2025-10-25T00:00:00+02:00",
        "to": "2025-10-28T00:00:00+01:00",
        "grain": "1h",
        "tz": "Europe/Berlin",
        "measures": TRADES["measures"].split(","),
        "group_by": ["symbol", "strategy"],
        "filter": {"symbol": ["wide"]},
        "fill": None,
    }
    assert (manifest["rollup"], manifest["format"], manifest["rows"]) == ("trade_pnl", "csv", 1)
    assert manifest["columns"] == ["time", "symbol", "strategy", *TRADES["measures"].split(",")]
    fresh = datetime.fromisoformat(reply.headers["X-As-Of"])
    assert fresh >= datetime.fromisoformat(manifest["as_of"]) - timedelta(milliseconds=1)
    assert reply.headers["Content-Disposition"] == 'attachment; filename="trade_pnl-2025-10-25-2025-10-28.csv"'


async def test_a_bad_question_is_refused_before_anything_is_sent(api: Api) -> None:
    for asked, parameter in (
        ({}, "rollup"),
        ({"rollup": "nothing"}, "rollup"),
        ({"rollup": "trade_pnl", "format": "pdf"}, "format"),
        ({"rollup": "trade_pnl", "measures": "nothing"}, "measures"),
        ({"rollup": "trade_pnl", "group_by": "nothing"}, "group_by"),
        ({"rollup": "trade_pnl", "limit": 5}, "limit"),
        ({"rollup": "trade_pnl", "fill": "zero"}, "fill"),
        ({"rollup": "trade_pnl", "from_": "1800-01-01"}, "from"),
    ):
        reply = await api.get("/api/v1/exports", **asked)
        assert (reply.status, reply.json["parameter"]) == (400, parameter), reply.text
    assert (await api.get(f"/api/v1/exports/{uuid4()}")).status == 404
    assert (await api.get("/api/v1/exports/none")).status == 404


async def test_who_may_see_what(api: Api) -> None:
    headers = []
    accounts = []
    api.clock.now = utc_now()
    for number in range(2):
        account = await identity.create_account(api.services.database, f"export{number}{uuid4()}@example.com", "hash")
        await identity.create_membership(api.services.database, account, api.organization, "member")
        accounts.append(str(account))
        headers.append({"Authorization": f"Bearer {OwnTokens(SECRET).issue(account, now=utc_now())}"})
    closed = api.clock.now - timedelta(minutes=1)
    await api.send([api.trade(closed, "1", user_id=accounts[0]), api.trade(closed, "10", user_id="somebody")])
    asked = {"rollup": "trade_pnl", "measures": "net"}
    own = await api.get("/api/v1/exports", headers=headers[0], **asked)
    everybodys = await api.get("/api/v1/exports", **asked)
    assert (own.text, everybodys.text) == ("net\r\n1\r\n", "net\r\n11\r\n")
    refused = await api.get("/api/v1/exports", headers=headers[0], filter="user_id:somebody", **asked)
    assert (refused.status, refused.json["parameter"]) == (403, "filter")
    shared = await api.get("/api/v1/exports", rollup="system_metrics")

    async def seen(reply: Reply, by: Api, headers: dict[str, str] | None = None) -> int:
        return (await by.get(f"/api/v1/exports/{reply.headers['X-Export-ID']}", headers=headers)).status

    async with another(api, "Other") as other:
        for reply in (own, everybodys, shared):
            assert await seen(reply, api) == 200
            assert await seen(reply, other) == 404
    assert await seen(own, api, headers[0]) == await seen(shared, api, headers[1]) == 200
    assert await seen(everybodys, api, headers[0]) == await seen(own, api, headers[1]) == 404
    assert (await manifest_of(api, own))["question"]["filter"] == {"user_id": [accounts[0]]}


LONG = {"rollup": "system_metrics", "grain": "1m", "fill": "zero", "from_": "2020-01-01", "to": "2026-01-01"}
"""Three million rows: what nobody reads waits in no buffer."""


class Slow:
    """A reader of an export who takes nothing until told."""

    def __init__(self, api: Api, **asked: Any) -> None:
        self._api = api
        self._asked = asked
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=small_buffers))

    async def __aenter__(self) -> Slow:
        pairs = [(name.rstrip("_"), str(value)) for name, value in self._asked.items()]
        self.answer = await self._session.get(
            self._api.url + "/api/v1/exports", params=pairs, headers=self._api.headers
        )
        assert self.answer.status == 200, await self.answer.text()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.answer.close()
        await self._session.close()

    async def status(self) -> Any:
        """The manifest as it is now."""
        return await manifest_of(self._api, self.answer)

    async def ended(self) -> Any:
        """The manifest once the export is over."""
        async with asyncio.timeout(20):
            while (found := await self.status())["status"] == "running":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return found


@pytest.fixture
async def many(api: Api) -> Api:
    await api.send([api.system("web", NOON, cpu_usage=1)])
    return api


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


async def test_old_manifests_go_and_those_left_behind_are_failed(many: Api) -> None:
    many.clock.now = now = utc_now()
    reply = await exported(many, "system_metrics")
    database, id_ = many.services.database, reply.headers["X-Export-ID"]
    async with database.write(many.organization) as connection:
        await connection.execute(
            "update app.export set status = 'running', finished_at = null, rows = null, bytes = null, sha256 = null"
        )
    await prune_exports(database, now=now + ABANDONED_AFTER - timedelta(minutes=1))
    assert (await many.get(f"/api/v1/exports/{id_}")).json["status"] == "running"
    await prune_exports(database, now=now + ABANDONED_AFTER + timedelta(minutes=1))
    found = (await many.get(f"/api/v1/exports/{id_}")).json
    assert (found["status"], found["error"]) == ("failed", "whoever made it ended, or lost the database")
    assert await prune_exports(database, now=now + timedelta(days=31)) >= 1
    assert (await many.get(f"/api/v1/exports/{id_}")).status == 404
