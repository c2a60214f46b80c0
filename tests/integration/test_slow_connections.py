"""Those that say something slowly, or hear nothing: answered 408 or cut, and forgotten; everybody else is served meanwhile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api.connections import Times
from api.edge import Edge
from tests.integration.api_service import Api, running
from tests.integration.stream_reader import small_buffers

QUICK_TIMES = Times(head_s=0.4, body_s=0.5, body_rate=100_000, pause_s=0.4, answer_s=0.5, keep_alive_s=1.0, look_s=0.05)


@pytest.fixture
async def api(service_database: str) -> AsyncIterator[Api]:
    """A service that waits for nobody."""
    async with running(service_database, times=QUICK_TIMES, edge=Edge(request_s=0.5)) as service:
        yield service


@asynccontextmanager
async def line(api: Api) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def trickled(api: Api, beginning: bytes, drop: bytes) -> bytes:
    """What is answered to somebody who begins so, and then sends a drop at a time for as long as they may."""
    async with line(api) as (reader, writer), asyncio.timeout(10):
        writer.write(beginning)
        answer = asyncio.create_task(everything(reader))
        try:
            while not answer.done():
                writer.write(drop)
                await asyncio.wait([answer], timeout=0.05)
        except ConnectionError:
            pass
        return await answer


async def everything(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end, or until the other side would hear no more."""
    read = b""
    try:
        while chunk := await reader.read(65_536):
            read += chunk
    except ConnectionError:
        pass
    return read


def key_of(api: Api) -> bytes:
    return f"Authorization: {api.headers['Authorization']}\r\n".encode()


def posting(api: Api, length: str) -> bytes:
    head = f"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\n".encode()
    return head + key_of(api) + b"\r\n["


async def test_a_head_that_trickles_is_answered_408_and_closed(api: Api) -> None:
    for beginning, drop in ((b"GET /health HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n"), (b"G", b"")):
        answer = await trickled(api, beginning, drop)
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n"), answer
        assert b"\r\nConnection: close\r\n" in answer
        assert b"nosniff" in answer
        assert answer.endswith(b'"detail":"the head did not come in time"}')


async def test_a_second_head_has_its_time_too_and_a_silent_connection_is_closed_without_a_word(api: Api) -> None:
    whole = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await trickled(api, whole + b"GET /health HTTP/1.1\r\n", b"X-A: b\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert answer.count(b"HTTP/1.1 408") == 1
    assert await trickled(api, b"", b"") == b""
    # Between requests a connection may be silent for longer.
    async with line(api) as (reader, writer), asyncio.timeout(10):
        writer.write(whole)
        await reader.readuntil(b"}")
        began = asyncio.get_running_loop().time()
        assert await reader.read() == b""
        assert asyncio.get_running_loop().time() - began > 0.6


async def test_a_body_that_trickles_or_stops_is_answered_408_and_nothing_of_it_is_kept(api: Api) -> None:
    for length, drop in (
        ("Content-Length: 1000000", b" "),
        ("Transfer-Encoding: chunked", b"1\r\n \r\n"),
        ("Content-Length: 9", b""),
    ):
        beginning = posting(api, length)
        if "chunked" in length:
            beginning = beginning[:-1] + b"1\r\n[\r\n"
        answer = await trickled(api, beginning, drop)
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert b"the body did not come in time" in answer
    # A login's body, too, and one that nobody reads.
    for path in (b"/api/auth/login", b"/nothing"):
        beginning = (
            b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{"
        )
        answer = await trickled(api, beginning, b" ")
        assert answer.startswith(b"HTTP/1.1 408 " if path != b"/nothing" else b"HTTP/1.1 404 "), answer


async def test_a_large_body_that_keeps_coming_has_the_time_it_needs(api: Api) -> None:
    body = b"[" + b" " * 200_000 + b"]"
    async with line(api) as (reader, writer), asyncio.timeout(20):
        writer.write(posting(api, f"Content-Length: {len(body)}"))
        for at in range(1, len(body), 20_000):
            writer.write(body[at : at + 20_000])
            await asyncio.sleep(0.1)  # the line is slow: a second in all, twice what a small body has
        assert (await reader.readline()).startswith(b"HTTP/1.1 202")


async def test_an_answer_that_nobody_reads_is_thrown_away(api: Api) -> None:
    await api.get("/openapi.json")
    request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    loop = asyncio.get_running_loop()
    host, port = api.url.removeprefix("http://").split(":")
    made = small_buffers((socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, int(port))))
    made.setblocking(False)
    with made:
        await loop.sock_connect(made, (host, int(port)))
        await loop.sock_sendall(made, request * 200)
        read = 0
        async with asyncio.timeout(20):
            await asyncio.sleep(2)  # to read nothing is what is tried here
            try:
                while chunk := await loop.sock_recv(made, 1 << 20):
                    read += len(chunk)
            except ConnectionError:
                pass
    document = len((await api.get("/openapi.json", headers={"Accept-Encoding": "identity"})).body)
    assert read < 100 * document


async def test_an_answer_that_is_not_there_in_time_is_504_but_a_stream_lasts(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = asyncio.Event()

    async def never(*_: Any, **__: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    async with api.stream(mode="events") as stream:
        await stream.placed()
        monkeypatch.setattr("api.query.answer", never)
        reply = await api.query("system_metrics")
        assert (reply.status, reply.json["title"]) == (504, "Took too long")
        assert started.is_set()
        monkeypatch.undo()
        reply = await api.query("system_metrics")
        assert reply.status == 200
        await api.send([api.system("web", cpu_usage=1)])
        assert await stream.ids(1)


async def test_many_slow_ones_keep_nobody_from_being_served(api: Api) -> None:
    async def slow() -> bytes:
        return await trickled(api, b"GET / HTTP/1.1\r\n", b"A: b\r\n")

    crowd = asyncio.gather(*(slow() for _ in range(100)))
    for _ in range(20):
        assert (await api.get("/health")).status == 200
    assert all(answer.startswith(b"HTTP/1.1 408") for answer in await crowd)
