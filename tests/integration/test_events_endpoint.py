"""`POST /api/v1/events`: every content type and encoding, every refusal with its reason, and nothing counted twice or lost."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
import zstandard

from api import events as api_events
from api.observation import Observation
from ingest.direct import DirectLog
from ingest.log import Batch, Outcome
from storage.sink import DatabaseSink
from tests.integration.api_service import MAX_BODY, NOON, Api, free_port, running

HOSTILE = (
    "<script>alert(1)</script>",
    "'; drop table store.event_view; --",
    'a"b\\c,d:e|f{g}h%i\nj\tk\rl',
    "\\N",
    "=1+1",
    "Ünïcödé 🦉 \u202e\u0301",
    "NULL",
    "{}",
)

COUNTS = {"system_metrics": "count", "enterprise_metrics": "count", "trade_pnl": "trades", "video_engagement": "events"}


async def counted(api: Api) -> int:
    """How many measurements are counted, over all time."""
    rows = (await api.query("system_metrics", measures="count", from_="2000-01-01", to="2100-01-01")).rows
    return int(rows[0][0]) if rows else 0


def lines(events: Sequence[Any]) -> bytes:
    return "\n".join(json.dumps(event) for event in events).encode()


async def test_every_content_type_is_taken(api: Api) -> None:
    one = lambda: api.system("web", cpu_usage=1)  # noqa: E731
    bodies = [
        (json.dumps(one()).encode(), "application/json"),
        (json.dumps(one()).encode(), "application/cloudevents+json"),
        (json.dumps([one(), one()]).encode(), "application/json; charset=utf-8"),
        (json.dumps([one(), one()]).encode(), "application/cloudevents-batch+json"),
        (lines([one(), one(), one()]) + b"\n\n", "application/x-ndjson"),
        (b" \n" + json.dumps([one()]).encode() + b"\n", "application/json"),
    ]
    accepted = 0
    for body, content_type in bodies:
        reply = await api.post(body, content_type)
        assert (reply.status, reply.json["rejected"]) == (202, []), reply.text
        accepted += reply.json["accepted"]
    assert accepted == await counted(api) == 10
    assert (await api.post(b"[]")).json == {"accepted": 0, "rejected": []}


async def test_compressed_bodies_are_taken(api: Api) -> None:
    squeezed = zstandard.ZstdCompressor().compress
    parts = [lines([api.system("web", cpu_usage=n)]) + b"\n" for n in range(6)]
    for body, encoding in (
        (gzip.compress(parts[0]), "gzip"),
        (gzip.compress(parts[1]) + gzip.compress(parts[2]), "GZIP"),
        (squeezed(parts[3]), "zstd"),
        (squeezed(parts[4]) + squeezed(parts[5]), "zstd"),
    ):
        reply = await api.post(body, "application/x-ndjson", Content_Encoding=encoding)
        assert reply.status == 202, reply.text
    assert await counted(api) == 6


async def test_a_bomb_is_refused_before_it_unfolds(api: Api) -> None:
    nothing = bytes(64 * 1024 * 1024)
    for body, encoding in (
        (gzip.compress(nothing), "gzip"),
        (zstandard.ZstdCompressor().compress(nothing), "zstd"),
        (zstandard.ZstdCompressor().compress(nothing) * 1_000, "zstd"),
    ):
        reply = await api.post(body, Content_Encoding=encoding)
        assert reply.status == 413
        assert str(MAX_BODY) in reply.json["detail"]
    assert (await api.post(b" " * (MAX_BODY + 1))).status == 413

    async def chunks() -> Any:
        for _ in range(MAX_BODY // 65_536 + 2):
            yield b" " * 65_536

    assert (
        await api.request("POST", "/api/v1/events", data=chunks(), headers={"Content-Type": "application/json"})
    ).status == 413
    assert await counted(api) == 0


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_a_compressed_body_that_was_cut_off_is_not_half_taken(api: Api, encoding: str) -> None:
    plain = lines([api.system("web", cpu_usage=n) for n in range(5_000)])
    body = gzip.compress(plain) if encoding == "gzip" else zstandard.ZstdCompressor().compress(plain)
    for broken in (body[:-5], body[: len(body) // 2], b"no " + encoding.encode(), body + b"\x00garbage"):
        reply = await api.post(broken, "application/x-ndjson", Content_Encoding=encoding)
        assert (reply.status, reply.json["parameter"]) == (400, "body"), reply.text
    assert await counted(api) == 0


async def test_what_cannot_be_read_is_refused_by_its_name(api: Api) -> None:
    good = json.dumps(api.system("web", cpu_usage=1)).encode()
    for content_type in (
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
    ):
        reply = await api.post(good, content_type)
        assert (reply.status, "application/x-ndjson" in reply.text) == (415, True)
    for encoding in ("br", "deflate", "gzip, gzip"):
        assert (await api.post(good, Content_Encoding=encoding)).status == 415
    for body in (
        b"",
        b"   ",
        good[:-10],
        b"[" + good,
        b"{]",
        b"[" * 200_000,
        b"\xff\xfe",
        good.decode().encode("utf-16"),
    ):
        reply = await api.post(body)
        assert (reply.status, reply.json["parameter"]) == (400, "body"), (body[:20], reply.text)
    assert (await api.post(b"\n \n", "application/x-ndjson")).status == 400
    too_many = b"[" + b",".join([good] * 10_001) + b"]"
    reply = await api.post(too_many)
    assert (reply.status, "10000" in reply.json["detail"]) == (413, True)
    assert await counted(api) == 0


async def test_ten_thousand_events_in_one_request(api: Api) -> None:
    events = [api.system(f"web-{n % 100}", NOON - timedelta(seconds=n % 3_600), cpu_usage=n) for n in range(10_000)]
    reply = await api.post(json.dumps(events).encode())
    assert (reply.status, reply.json) == (202, {"accepted": 10_000, "rejected": []})
    rows = (await api.query("system_metrics", measures="count,sum,min,max", from_="2026-03-10")).rows
    assert rows == [[10_000, sum(range(10_000)), 0, 9_999]]


async def test_the_good_are_accepted_and_the_bad_get_their_reason(api: Api) -> None:
    good = [api.system("web", cpu_usage=n) for n in range(3)]
    bad = [
        (api.trade(NOON, "1", side="hold"), "data.side"),
        (api.system("web", time=NOON + timedelta(minutes=11), cpu_usage=1), "time"),
        ({**api.system("web", cpu_usage=1), "time": "1900-01-01T00:00:00Z"}, "time"),
        ({**api.system("web", cpu_usage=1), "type": "unheard"}, "type"),
        (api.system("web", cpu_usage="high"), "data.metrics"),  # type: ignore[arg-type]
        (api.system("", cpu_usage=1), "data.host"),
        (api.system("web", **{"Not A Name": 1}), "data.metrics.Not A Name"),
        (api.system("w\x00b", cpu_usage=1), "data.host"),
        (api.trade(NOON, "1" * 19), "data.pnl"),
        ({**api.system("web", cpu_usage=1), "source": "streamgauge/reports", "sequence": 10**18}, "source"),
        ({"specversion": "1.0"}, "type"),
        (7, "event"),
    ]
    events = [good[0], *(event for event, _ in bad[:5]), good[1], *(event for event, _ in bad[5:]), good[2]]
    reply = await api.post(json.dumps(events).encode())
    assert reply.status == 202
    assert reply.json["accepted"] == 3
    rejected = reply.json["rejected"]
    assert [r["index"] for r in rejected] == [1, 2, 3, 4, 5, *range(7, 14)]
    for (event, field), refusal in zip(bad, rejected, strict=True):
        assert refusal["error"].startswith(field), refusal
        assert refusal["id"] == (event.get("id") if isinstance(event, dict) else None)
    assert await counted(api) == 3

    reply = await api.post(lines([bad[0][0], "{", *good]).replace(b'"{"', b"{"), "application/x-ndjson")
    assert (reply.json["accepted"], [r["index"] for r in reply.json["rejected"]]) == (3, [0, 1])
    reply = await api.post(json.dumps([event for event, _ in bad]).encode())
    assert (reply.status, reply.json["accepted"], len(reply.json["rejected"])) == (422, 0, len(bad))
    assert await counted(api) == 3


async def test_a_retry_is_accepted_and_counted_once(api: Api) -> None:
    events = [api.system("web", cpu_usage=n) for n in range(5)]
    body = json.dumps(events).encode()
    replies = await asyncio.gather(*(api.post(body) for _ in range(8)))
    assert {(reply.status, reply.json["accepted"]) for reply in replies} == {(202, 5)}
    changed = [{**event, "time": (NOON - timedelta(days=1)).isoformat()} for event in events]
    assert (await api.post(json.dumps(changed + changed).encode())).json["accepted"] == 10
    assert await counted(api) == 5
    assert (await api.post(json.dumps({**events[0], "source": "another"}).encode())).status == 202
    assert await counted(api) == 6


async def test_a_source_that_numbers_its_events_finds_where_it_was(api: Api) -> None:
    async def known(source: str = "host/1", kind: str = "system") -> Any:
        return (await api.get("/api/v1/events/sequence", type=kind, source=source)).json["sequence"]

    assert await known() is None
    numbered = [
        {**api.system("web", cpu_usage=n), "source": "host/1", "sequence": n if n % 2 else str(n)} for n in range(1, 9)
    ]
    await api.send(numbered[:5])
    assert await known() == 5
    await api.send(numbered)
    assert (await known(), await counted(api)) == (8, 8)
    assert await known("host/2") is None
    assert await known(kind="trade") is None
    for parameters, name in (
        ({"type": "system"}, "source"),
        ({"type": "x", "source": "y"}, "type"),
        ({"source": "y"}, "type"),
    ):
        reply = await api.get("/api/v1/events/sequence", **parameters)
        assert (reply.status, reply.json["parameter"]) == (400, name)
    reply = await api.get("/api/v1/events/sequence", type="system", source="a\x00b")
    assert (reply.status, reply.json["parameter"]) == (400, "source")


async def test_hostile_text_comes_back_as_it_was_sent(api: Api) -> None:
    texts = HOSTILE
    await api.send([api.system(text, cpu_usage=1) for text in texts])
    await api.send(
        [api.trade(NOON, "1", user_id=text, broker=text, symbol=text, strategy=text, trade_id=text) for text in texts]
    )
    await api.send([api.view("like", creator_id=text, video_id=text, user_id=text) for text in texts])
    await api.send([api.enterprise(team=text[:50], active_users=1) for text in texts])
    await api.send([{**api.system("named", cpu_usage=2), "id": text, "source": text} for text in texts])

    async def keys(rollup: str, *names: str) -> list[tuple[str, ...]]:
        rows = (await api.query(rollup, group_by=",".join(names), measures=COUNTS[rollup])).rows
        return [tuple(row[:-1]) for row in rows]

    ordered = sorted(texts)
    assert await keys("system_metrics", "host") == sorted([(text,) for text in (*texts, "named")])
    assert await keys("trade_pnl", "user_id", "broker", "symbol", "strategy") == [(text,) * 4 for text in ordered]
    assert await keys("video_engagement", "creator_id", "video_id") == [(text,) * 2 for text in ordered]
    assert await keys("enterprise_metrics", "team_type") == [(text[:50],) for text in ordered]
    assert {row["id"] for row in (await api.get("/users/top")).json} == set(texts)
    for text in texts:
        rows = (await api.query("system_metrics", measures="last", filter="host:" + text.replace(",", "\\,"))).rows
        assert rows == [[1]], text


async def test_without_its_database_the_log_says_when_to_come_back(api: Api, service_database: str) -> None:
    body = json.dumps(api.system("web", cpu_usage=1)).encode()
    log = DirectLog(DatabaseSink(f"postgresql://nobody@127.0.0.1:{free_port()}/none", ()), Observation())
    async with running(service_database, known=api, log=log) as service:
        reply = await service.post(body)
        assert (reply.status, reply.json["title"]) == (503, "Unavailable")
        assert int(reply.headers["Retry-After"]) >= 1
        await log.close()
        assert (await service.post(body)).status == 503
    assert await counted(api) == 0
    assert (await api.post(body)).status == 202
    assert await counted(api) == 1


async def test_a_full_queue_says_when_to_come_back(api: Api, service_database: str) -> None:
    body = json.dumps(api.system("web", cpu_usage=1)).encode()
    stuck = Stuck()
    log = DirectLog(stuck, Observation(), queue_events=1)
    async with running(service_database, known=api, log=log) as service:
        # One is being written, one waits; for the others there is no room.
        waiting = {asyncio.create_task(service.post(body)) for _ in range(5)}
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        stuck.go_on.set()
        for task in done:
            assert (task.result().status, int(task.result().headers["Retry-After"]) >= 1) == (503, True)
        assert 202 in {(await task).status for task in waiting}
        await log.close()


class Stuck:
    """A sink whose disk does not answer until it is let go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def write(self, batches: Sequence[Batch]) -> Outcome:
        self.go_on.wait(30)
        return Outcome([[] for _ in batches], 0, sum(len(batch.events) for batch in batches))


async def test_large_requests_leave_room_in_the_line_of_what_computes(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than two stand in it, so that what is prepared for the database is never behind all of them."""
    changing = threading.Lock()
    handed: list[int] = []
    decode = api_events._take

    def slow(*arguments: Any, **options: Any) -> Any:
        with changing:
            handed.append(handed[-1] + 1 if handed else 1)
        time.sleep(0.05)
        with changing:
            handed.append(handed[-1] - 1)
        return decode(*arguments, **options)

    monkeypatch.setattr(api_events, "_take", slow)
    body = json.dumps([api.system("web" * 20, cpu_usage=1) for _ in range(500)]).encode()
    assert len(body) > 64 * 1024
    replies = await asyncio.gather(*(api.post(body) for _ in range(8)))
    assert {reply.status for reply in replies} == {202}
    assert len(handed) == 16
    assert max(handed) <= 2


async def test_only_a_credential_with_the_scope_sends(api: Api) -> None:
    body = json.dumps(api.system("web", cpu_usage=1)).encode()
    assert (await api.post(body, Authorization="Bearer sg_aaaaaaaa_" + "a" * 43)).status == 401
    async with api.session.post(api.url + "/api/v1/events", data=body) as answer:
        assert answer.status == 401
    assert await counted(api) == 0
