"""The load generator, a process of its own: sends pre-encoded bodies over several connections as fast as they are answered.

Run as `python -m bench.load HOST PORT KEY CONNECTIONS FILE [SECONDS]`; FILE holds the bodies, each behind its length in 8 bytes.
With SECONDS they are spread evenly over so long. It prints the seconds that it took.
It speaks plain HTTP/1.1 over sockets: a client library would take CPU time from the service.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

_LENGTH = struct.Struct(">Q")


def pack(bodies: list[bytes]) -> bytes:
    """The bodies as the file has them."""
    return b"".join(_LENGTH.pack(len(body)) + body for body in bodies)


def _unpack(joined: bytes) -> deque[bytes]:
    found: deque[bytes] = deque()
    place = 0
    while place < len(joined):
        (length,) = _LENGTH.unpack_from(joined, place)
        place += _LENGTH.size
        found.append(joined[place : place + length])
        place += length
    return found


async def _connection(host: str, port: int, key: str, waiting: deque[bytes], due: Iterator[float]) -> None:
    """Sends one body after the other, none before it is due, and wants each accepted whole."""
    reader, writer = await asyncio.open_connection(host, port)
    while waiting:
        body = waiting.popleft()
        await asyncio.sleep(max(0.0, next(due) - time.perf_counter()))
        head = (
            f"POST /api/v1/events HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.writelines([head.encode(), body])
        status = await reader.readline()
        length = 0
        while (line := await reader.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        answer = await reader.readexactly(length)
        if b" 202 " not in status or b'"rejected":[]' not in answer:
            raise RuntimeError(f"{status!r} {answer[:300]!r}")
    writer.close()


async def _run(host: str, port: int, key: str, connections: int, waiting: deque[bytes], seconds: float) -> float:
    started = time.perf_counter()
    step = seconds / max(1, len(waiting))
    due = (started + number * step for number in itertools.count())
    await asyncio.gather(*(_connection(host, port, key, waiting, due) for _ in range(connections)))
    return time.perf_counter() - started


if __name__ == "__main__":
    host, port, key, connections, file, *rest = sys.argv[1:]
    over = float(rest[0]) if rest else 0.0
    print(asyncio.run(_run(host, int(port), key, int(connections), _unpack(Path(file).read_bytes()), over)))
