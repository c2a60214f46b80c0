"""Importing files over HTTP: real ones whole, and what becomes of interruptions, bad rows and broken files."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from ingest.collectors.backoff import Backoff
from ingest.collectors.client import Client, Refused
from ingest.collectors.importers import BadMapping, FileFault, Summary, import_file
from ingest.events.envelope import decimal
from tests.integration.events_server import KEY, EventsServer, events_server, free_port, refusing

DATA = Path(__file__).parents[1] / "data"
SERIES = DATA / "nab" / "rds_cpu_utilization_cc0c53.csv"


@pytest.fixture
async def server() -> AsyncIterator[EventsServer]:
    async with events_server() as running:
        yield running


@pytest.fixture
async def client(server: EventsServer) -> AsyncIterator[Client]:
    async with Client(server.url, KEY, random=Random(1), backoff=Backoff(first=0.001, cap=0.01)) as sender:
        yield sender


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def series(rows: int) -> str:
    return "timestamp,value\n" + "".join(f"2026-01-05 10:{at // 60:02}:{at % 60:02},{at}.5\n" for at in range(rows))


def counts(summary: Summary) -> tuple[int, int, int, int]:
    return summary.rows, summary.accepted, summary.skipped, summary.rejected


async def test_a_nab_series_arrives_whole(server: EventsServer, client: Client) -> None:
    summary = await import_file(SERIES, "nab", client=client, mapping={"metric": "cpu_usage"})
    assert counts(summary) == (4_032, 4_032, 0, 0)
    assert server.requests == [1_000, 1_000, 1_000, 1_000, 32]
    assert server.most_at_once == 1
    first = server.events[0]
    assert first.time.isoformat() == "2014-02-14T14:30:00+00:00"
    assert first.data.host == "rds_cpu_utilization_cc0c53"
    assert first.data.metrics == {"cpu_usage": 6.456}
    assert [event.id for event in server.events] == [str(row) for row in range(1, 4_033)]


async def test_an_access_log_is_counted(server: EventsServer, client: Client) -> None:
    lines = gzip.decompress((DATA / "access.log.gz").read_bytes()).decode().splitlines()
    summary = await import_file(DATA / "access.log.gz", "access-log", client=client, mapping={"host": "web-1"})
    assert counts(summary) == (300, 300, 0, 0)
    assert sum(event.data.metrics["requests"] for event in server.events) == len(lines)
    sizes = [line.split('" ')[1].split()[1] for line in lines]
    assert sum(event.data.metrics["response_size"] for event in server.events) == sum(
        int(size) for size in sizes if size != "-"
    )


async def test_freqtrades_trades_agree_with_freqtrade(server: EventsServer, client: Client) -> None:
    expected = json.loads((DATA / "freqtrade_expected.json").read_text())
    summary = await import_file(DATA / "freqtrade_trades.csv", "freqtrade", client=client, mapping={"user_id": "ada"})
    assert counts(summary) == (179, 179, 0, 0)
    assert summary.notes["pnl rounded to 18 digits after the point"] == 179
    daily: dict[str, Decimal] = {}
    for event in server.events:
        assert (event.data.user_id, event.data.currency, event.data.side) == ("ada", "BTC", "buy")
        day = event.time.date().isoformat()
        daily[day] = daily.get(day, Decimal(0)) + decimal(event.data.pnl) - decimal(event.data.fees)
    assert float(sum(daily.values())) == pytest.approx(expected["profit_total_abs"], abs=1e-15)
    assert {day: float(net) for day, net in daily.items()} == pytest.approx(dict(expected["daily_profit"]), abs=1e-9)
    first = server.events[0].data
    assert (decimal(first.quantity), decimal(first.entry_price)) == (Decimal("10.37344398340249"), Decimal("0.0000964"))


async def test_the_same_file_again_counts_nothing(server: EventsServer, client: Client, tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", series(2_500))
    await import_file(path, "nab", client=client, mapping={})
    requests = len(server.requests)
    again = await import_file(path, "nab", client=client, mapping={})
    assert counts(again) == (2_500, 0, 2_500, 0)
    assert len(server.requests) == requests, "nothing is sent that is there"
    assert len(server.events) == 2_500


async def test_identical_lines_are_different_rows_and_a_copy_is_the_same_file(
    server: EventsServer, client: Client, tmp_path: Path
) -> None:
    text = "timestamp,value\n" + "2026-01-05 10:00:00,1\n" * 50
    await import_file(write(tmp_path, "a.csv", text), "nab", client=client, mapping={})
    assert len(server.events) == 50
    copy = await import_file(write(tmp_path, "b.csv", text), "nab", client=client, mapping={})
    assert counts(copy) == (50, 0, 50, 0)


async def test_an_import_that_was_stopped_goes_on_where_it_was(
    server: EventsServer, client: Client, tmp_path: Path
) -> None:
    path = write(tmp_path, "a.csv", series(3_500))

    def stop(rows_done: int, rows_total: int | None, bytes_done: int, bytes_total: int) -> None:
        if rows_done >= 2_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await import_file(path, "nab", client=client, mapping={}, on_progress=stop)
    assert len(server.events) == 2_000
    summary = await import_file(path, "nab", client=client, mapping={})
    assert counts(summary) == (3_500, 1_500, 2_000, 0)
    assert [event.sequence for event in server.events] == list(range(1, 3_501))


async def test_a_server_that_goes_away_and_loses_answers_gets_every_row_once_in_order(
    server: EventsServer, client: Client, tmp_path: Path
) -> None:
    path = write(tmp_path, "a.csv", series(3_500))
    server.failures.extend(["lost", refusing(503), "broken", "lost", refusing(500)])
    summary = await import_file(path, "nab", client=client, mapping={})
    assert counts(summary) == (3_500, 3_500, 0, 0)
    assert [event.sequence for event in server.events] == list(range(1, 3_501))


async def test_a_server_that_restarts_meanwhile_is_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", series(3_500))
    port = free_port()
    halfway = asyncio.Event()

    def progress(rows_done: int, rows_total: int | None, bytes_done: int, bytes_total: int) -> None:
        if rows_done >= 1_000:
            halfway.set()

    async with Client(
        f"http://127.0.0.1:{port}", KEY, random=Random(1), backoff=Backoff(first=0.01, cap=0.05)
    ) as client:
        async with events_server(port) as server:
            importing = asyncio.create_task(import_file(path, "nab", client=client, mapping={}, on_progress=progress))
            await asyncio.wait_for(halfway.wait(), 30)
        async with events_server(port, server):
            summary = await asyncio.wait_for(importing, 30)
    assert counts(summary) == (3_500, 3_500, 0, 0)
    assert [event.sequence for event in server.events] == list(range(1, 3_501))


async def test_a_key_that_is_refused_ends_the_import_with_the_servers_words(
    server: EventsServer, tmp_path: Path
) -> None:
    async with Client(server.url, "wrong", random=Random(1)) as client:
        with pytest.raises(Refused, match="API key is not known"):
            await import_file(write(tmp_path, "a.csv", series(10)), "nab", client=client, mapping={})


async def test_bad_rows_are_told_by_line_and_their_neighbours_count(
    server: EventsServer, client: Client, tmp_path: Path
) -> None:
    rows = ["timestamp,value", "2026-01-05 10:00:00,1", "2026-01-05 10:00:01,abc", "", "yesterday,3", "2026-01-05 10:00:03,4,5",
            "1900-01-01 00:00:00,6", "2026-01-05 10:00:05"]  # fmt: skip
    path = write(tmp_path, "a.csv", "\r\n".join([*rows, "2026-01-05 10:00:06,7"]))
    summary = await import_file(path, "nab", client=client, mapping={}, write_rejected=True)
    assert counts(summary) == (7, 2, 0, 5)
    told = [(one.row, one.line, one.error) for one in summary.reasons]
    assert [(row, line) for row, line, _ in told] == [(2, 3), (3, 5), (4, 6), (5, 7), (6, 8)]
    assert "value: 'abc' is no decimal number" in told[0][2]
    assert "time: 'yesterday' is no time" in told[1][2]
    assert "has 3 columns, the header 2" in told[2][2]
    assert "time: lies before 2000" in told[3][2], "the server's refusals stand among ours"
    assert "has 1 columns, the header 2" in told[4][2]
    assert summary.rejected_file == path.with_name("a.csv.rejected.ndjson")
    written = [json.loads(line) for line in summary.rejected_file.read_text().splitlines()]
    assert [one["row"] for one in written] == [2, 3, 4, 5, 6]
    assert written[0]["text"] == "2026-01-05 10:00:01,abc"


async def test_twenty_reasons_are_kept_and_all_are_counted(
    server: EventsServer, client: Client, tmp_path: Path
) -> None:
    path = write(tmp_path, "a.csv", "timestamp,value\n" + "x,1\n" * 5_000)
    summary = await import_file(path, "nab", client=client, mapping={})
    assert counts(summary) == (5_000, 0, 0, 5_000)
    assert len(summary.reasons) == 20
    assert summary.rejected_file is None
    assert names(tmp_path) == ["a.csv"], "nothing is written that was not asked for"


async def test_progress_goes_through_the_file_and_then_through_the_rows(client: Client, tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", series(2_500))
    seen: list[tuple[int, int | None, int, int]] = []
    await import_file(path, "nab", client=client, mapping={}, on_progress=lambda *steps: seen.append(steps))
    size = path.stat().st_size
    assert seen[0] == (0, None, size, size)
    assert [rows for rows, *_ in seen[1:]] == [1_000, 2_000, 2_500, 2_500]
    assert {total for _, total, *_ in seen[1:]} == {2_500}
    assert seen[-1][2:] == (size, size)


async def test_a_table_of_trades_with_another_separator(server: EventsServer, client: Client, tmp_path: Path) -> None:
    text = (
        "\ufeffwho;what;way;size;in;out;from;to\nada;SAP;BUY;2;10.10;11.30;2026-01-05T10:00Z;2026-01-05T11:00+01:00\n"
    )
    path = write(tmp_path, "t.csv", text)
    mapping = {"user_id": "who", "symbol": "what", "side": "way", "quantity": "size", "entry_price": "in", "exit_price": "out",
               "opened_at": "from", "closed_at": "to", "broker": "mtx", "currency": "EUR"}  # fmt: skip
    summary = await import_file(path, "csv", client=client, mapping=mapping, kind="trade")
    assert counts(summary) == (1, 1, 0, 0), summary.reasons
    trade = server.of("trade")[0].data
    assert (trade.broker, trade.currency, decimal(trade.pnl)) == ("mtx", "EUR", Decimal("2.40"))


async def test_cloud_events_of_several_kinds_resume_by_kind(
    server: EventsServer, client: Client, tmp_path: Path
) -> None:
    system = {"specversion": "1.0", "id": "own", "source": "own", "type": "system", "time": "2026-01-05T10:00:00Z",
              "data": {"host": "a", "metrics": {"cpu_usage": 1}}}  # fmt: skip
    view = system | {"type": "view", "data": {"video_id": "v", "creator_id": "c", "user_id": "u", "action": "view"}}
    lines = [system, view, system, {"type": "view"}, view | {"type": "order"}, view, view | {"data": {}}]
    path = write(tmp_path, "events.ndjson", "".join(json.dumps(line) + "\n" for line in lines))
    summary = await import_file(path, "ndjson", client=client, mapping={})
    assert counts(summary) == (7, 4, 0, 3)
    assert [one.row for one in summary.reasons] == [4, 5, 7]
    assert [event.sequence for event in server.of("system")] == [1, 3]
    assert [event.sequence for event in server.of("view")] == [2, 6]
    assert {event.source for event in server.events} == {summary.source}
    again = await import_file(path, "ndjson", client=client, mapping={})
    assert again.accepted == 0
    assert len(server.events) == 4


async def test_plain_objects_are_mapped_and_may_lack_keys(server: EventsServer, client: Client, tmp_path: Path) -> None:
    lines = ['{"at": 1767607200, "srv": "web-1", "cpu": 7.25}', '{"srv": "web-1", "at": 1767607201}', '["no object"]',
             '{"at": 1767607202, "srv": "web-2", "queue": 3, "cpu": null}']  # fmt: skip
    path = write(tmp_path, "plain.ndjson.gz", gzip.compress("\n".join(lines).encode()))
    mapping = {"time": "at", "host": "srv", "metrics.cpu_usage": "cpu", "metrics.queue_length": "queue"}
    summary = await import_file(path, "ndjson", client=client, mapping=mapping, kind="system")
    assert counts(summary) == (4, 2, 0, 2)
    assert [event.data.metrics for event in server.events] == [{"cpu_usage": 7.25}, {"queue_length": 3.0}]


async def test_a_line_without_end_is_one_bad_row(server: EventsServer, client: Client, tmp_path: Path) -> None:
    good = '{"specversion":"1.0","type":"system","time":"2026-01-05T10:00:00Z","data":{"host":"a","metrics":{"m":1}}}\n'
    path = write(tmp_path, "long.ndjson", good + '{"x":"' + "y" * 3_000_000 + '"}\n' + good)
    summary = await import_file(path, "ndjson", client=client, mapping={})
    assert counts(summary) == (3, 2, 0, 1)
    assert "longer than" in summary.reasons[0].error
    assert len(summary.reasons[0].text) == 2_000


async def test_an_open_quote_does_not_swallow_the_file(server: EventsServer, client: Client, tmp_path: Path) -> None:
    text = 'timestamp,value\n2026-01-05 10:00:00,"1\n' + "2026-01-05 10:00:01,2\n" * 20_000
    summary = await import_file(write(tmp_path, "a.csv", text), "nab", client=client, mapping={})
    assert summary.rejected == 1
    assert summary.accepted > 10_000
    assert summary.rows == summary.accepted + summary.rejected


ZIPPED = gzip.compress(series(2_000).encode())
BROKEN = {
    "empty": (b"", "is empty"),
    "blank": (b"\n \r\n", "is empty"),
    "cut off": (ZIPPED[: len(ZIPPED) // 2], "cut off or damaged"),
    "damaged": (ZIPPED[:-8] + b"12345678", "damaged"),
    "latin-1": ("timestamp,value\n2026-01-05,1\n2026-01-06,ü\n".encode("latin-1"), "line 3 is not UTF-8"),
    "utf-16": ("timestamp,value\n".encode("utf-16"), "is UTF-16 text"),
    "no columns": (b"a,b\n1,2\n", "no column for value \\(for value\\), timestamp \\(for time\\)"),
    "twice": (b"timestamp,value,value\n", "names value more than once"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_file_is_told_before_anything_is_sent(
    server: EventsServer, client: Client, tmp_path: Path, name: str
) -> None:
    content, told = BROKEN[name]
    path = write(tmp_path, "a.csv", content)
    with pytest.raises(FileFault, match=told):
        await import_file(path, "nab", client=client, mapping={})
    assert server.requests == []


async def test_what_is_no_file_is_told(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileFault, match="No such file"):
        await import_file(tmp_path / "none.csv", "nab", client=client, mapping={})
    with pytest.raises(FileFault, match="is no regular file"):
        await import_file(tmp_path, "nab", client=client, mapping={})
    with pytest.raises(BadMapping, match="is no format"):
        await import_file(SERIES, "parquet", client=client, mapping={})


async def test_a_file_that_changes_meanwhile_is_not_mixed_with_itself(client: Client, tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", series(3_000))

    def change(rows_done: int, rows_total: int | None, bytes_done: int, bytes_total: int) -> None:
        if rows_done == 1_000:
            path.write_text(series(10))

    with pytest.raises(FileFault, match="changed while it was imported"):
        await import_file(path, "nab", client=client, mapping={}, on_progress=change)


async def test_a_header_alone_is_a_file_without_rows(client: Client, tmp_path: Path) -> None:
    summary = await import_file(write(tmp_path, "a.csv", "timestamp,value\n"), "nab", client=client, mapping={})
    assert counts(summary) == (0, 0, 0, 0)
