"""The wire of server-sent events (WHATWG HTML, section 9.2): frames, heartbeats, and waiting for a reader that is behind."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

MOST_WAITING = 16 * 1024
"""Bytes that may wait for a reader before the next frame does; frames are whole, so it is at most one more than that."""

HEARTBEAT = b": \n\n"


class Gone(Exception):
    """The reader is gone."""


class EventSource:
    """One open stream of server-sent events."""

    def __init__(self, request: web.Request) -> None:
        transport = request.transport
        if transport is None:
            raise Gone
        self.transport: asyncio.Transport = transport
        self._request = request
        self._writer: AbstractStreamWriter | None = None
        self.response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )

    async def open(self) -> None:
        """Sends the head, and a line that makes buffering proxies let go of it. Raises Gone."""
        self.transport.set_write_buffer_limits(MOST_WAITING)
        self._writer = await self.response.prepare(self._request)
        await self.send(b": streamgauge\nretry: 2000\n\n")

    @property
    def sent(self) -> int:
        """Bytes that the connection was given."""
        return 0 if self._writer is None else self._writer.output_size

    async def send(self, frames: bytes) -> None:
        """Sends whole frames; returns once the reader has taken enough of what waits for it. Raises Gone."""
        assert self._writer is not None
        if self.transport.is_closing():
            raise Gone
        try:
            await self._writer.write(frames)
            await self._writer.drain()
        except (ConnectionError, RuntimeError):
            raise Gone from None


def frame(event: str, data: bytes, id_: str | None = None) -> bytes:
    """The bytes of one event; `data` is JSON in one line. Without an id the reader has no place to go on from."""
    head = f"event: {event}\ndata: " if id_ is None else f"event: {event}\nid: {id_}\ndata: "
    return head.encode() + data + b"\n\n"


def place(id_: str) -> bytes:
    """The bytes that tell a reader where it is without an event, so that it can go on from there."""
    return f"id: {id_}\n\n".encode()
