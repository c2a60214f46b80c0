"""Exports in three formats: the rows of `/api/v1/query`, all of them, to the last digit."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from python_calamine import CalamineWorkbook

from tests.integration.api_service import NOON, Api
from tests.integration.export_reader import exported, manifest_of, paged

BERLIN_AUTUMN = datetime(2025, 10, 25, 20, tzinfo=UTC)


WIDE = "123456789012345678.123456789012345678"


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


async def test_a_whole_amount_is_exact_in_every_format(api: Api, tmp_path: Path) -> None:
    amounts = ["123456789012345679", "-9007199254740993", "5"]
    await api.send([api.trade(NOON, amount, symbol=f"s{n}") for n, amount in enumerate(amounts)])
    asked = {"group_by": "symbol", "measures": "net"}
    rows = (await api.query("trade_pnl", **asked)).rows
    assert [str(row[1]) for row in rows] == amounts
    assert (await exported(api, "trade_pnl", **asked)).text.split()[1:] == [f"{row[0]},{row[1]}" for row in rows]
    _, _, found = parquet((await exported(api, "trade_pnl", format="parquet", **asked)).body, tmp_path / "a")
    assert [str(row[1].to_integral_value()) for row in found] == amounts
    header, *cells = sheet((await exported(api, "trade_pnl", format="xlsx", **asked)).body)
    assert header == ["symbol", "net", "net (exact)"]
    assert [row[2] for row in cells] == amounts


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
