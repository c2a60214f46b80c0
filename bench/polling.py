"""Clients that poll, a process of its own: each connection asks again as soon as it is answered, one request at a time.

Run as `python -m bench.polling HOST PORT PATH KEY CONNECTIONS SECONDS`; prints the requests answered a second and the
latencies in JSON. It speaks plain HTTP/1.1: a client library would take CPU time from the service.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

try:
    import uvloop as loops
except ImportError:
    loops = asyncio  # type: ignore[misc]

_WARM_UP_S = 0.5


class Poller(asyncio.Protocol):
    """One keep-alive connection. Every answer must be 200."""

    def __init__(self, request: bytes, latencies: list[float]) -> None:
        self._request = request
        self._latencies = latencies
        self._received = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None
        self.failed: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the first time."""
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Asks again once the answer is whole."""
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._received.index(b"Content-Length: ") + 16
        length = int(self._received[at : self._received.index(b"\r\n", at)])
        if len(self._received) < head + 4 + length:
            return
        if not self._received.startswith(b"HTTP/1.1 200"):
            self.failed = repr(self._received[:200])
        self._latencies.append(time.perf_counter() - self._sent)
        self._received = b""
        self._ask()

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.abort()


async def _poll(host: str, port: int, path: str, key: str, connections: int, seconds: float) -> dict[str, float]:
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\nAccept: application/json\r\n\r\n".encode()
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    pollers = [
        (await loop.create_connection(lambda: Poller(request, latencies), host, port))[1] for _ in range(connections)
    ]
    await asyncio.sleep(_WARM_UP_S)
    latencies.clear()
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    taken = time.perf_counter() - started
    for poller in pollers:
        poller.close()
        if poller.failed is not None:
            raise RuntimeError(poller.failed)
    latencies.sort()
    if not latencies:
        raise RuntimeError("nothing was answered")
    return {
        "rate": len(latencies) / taken,
        "p50_ms": 1e3 * latencies[len(latencies) // 2],
        "p99_ms": 1e3 * latencies[int(len(latencies) * 0.99)],
    }


if __name__ == "__main__":
    host, port, path, key, connections, seconds = sys.argv[1:]
    print(json.dumps(loops.run(_poll(host, int(port), path, key, int(connections), float(seconds)))))
