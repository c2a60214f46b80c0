"""The readers, a process of their own: opens streams of server-sent events and notes when each of them is told something.

Run as `python -m bench.live_client HOST PORT KEY CONNECTIONS PATH`. It prints `open` when every stream has had its first answer; at
each line on its input it prints, as JSON, for every answer since the line before when it came to which stream (seconds since 1970,
sorted). It speaks plain HTTP/1.1 over sockets: a client library would take CPU time from the service.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import cast

import uvloop

_OPENING = 100
"""Connections that are being opened at once."""
_OPEN_S = 180.0


class _Reader(asyncio.Protocol):
    """One stream."""

    def __init__(self, request: bytes, opened: asyncio.Future[None], told: list[list[float]]) -> None:
        self._request = request
        self._opened = opened
        self._told = told
        self._count = 0
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are like asyncio's, but no kind of them.
        cast("asyncio.WriteTransport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._opened.done():
            self._begin(data)
            return
        if b"event: state" not in data:
            return
        if self._count == len(self._told):
            self._told.append([])
        self._told[self._count].append(time.time())
        self._count += 1

    def _begin(self, data: bytes) -> None:
        self._head += data
        if b"event: state" in self._head:
            self._opened.set_result(None)
        elif not b"HTTP/1.1 200 ".startswith(self._head[:13]):
            self._opened.set_exception(RuntimeError(self._head.decode()))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._opened.done():
            self._opened.set_exception(exc or ConnectionError("closed"))


async def _run(host: str, port: int, key: str, connections: int, path: str) -> None:
    loop = asyncio.get_running_loop()
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n\r\n".encode()
    told: list[list[float]] = []
    gate = asyncio.Semaphore(_OPENING)

    async def open_one() -> asyncio.BaseTransport:
        async with gate:
            opened = loop.create_future()
            transport, _ = await loop.create_connection(lambda: _Reader(request, opened, told), host, port)
            await opened
            return transport

    async with asyncio.timeout(_OPEN_S):
        transports = await asyncio.gather(*(open_one() for _ in range(connections)))
    print("open", flush=True)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        print(json.dumps(told), flush=True)
    for transport in transports:
        transport.close()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    host, port, key, connections, path = sys.argv[1:]
    uvloop.run(_run(host, int(port), key, int(connections), path))
