"""The wire of server-sent events (WHATWG HTML, section 9.2): frames, heartbeats, and an end for readers that do not read."""

from __future__ import annotations

import asyncio

from aiohttp import web

HEARTBEAT_S = 15.0
WRITE_TIMEOUT_S = 30.0


class Gone(Exception):
    """The reader is gone, or has not read for 30 s."""


class EventSource:
    """One open stream of server-sent events."""

    def __init__(self, request: web.Request, headers: dict[str, str] | None = None) -> None:
        self._request = request
        self.response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
                **(headers or {}),
            }
        )

    async def open(self) -> web.StreamResponse:
        """Sends the head, and a line that makes buffering proxies let go of it."""
        await self.response.prepare(self._request)
        await self._write(b": streamgauge\nretry: 2000\n\n")
        return self.response

    async def send(self, event: str, data: bytes, id_: str | None = None) -> None:
        """One event; `data` is JSON in one line. Raises Gone."""
        head = f"event: {event}\n" + (f"id: {id_}\n" if id_ else "")
        await self._write(head.encode() + b"data: " + data + b"\n\n")

    async def send_raw(self, frames: bytes) -> None:
        """Frames made by `frame`, many in one write. Raises Gone."""
        await self._write(frames)

    async def place(self, id_: str) -> None:
        """Tells a reader where it is without an event, so that it can go on from there. Raises Gone."""
        await self._write(f"id: {id_}\n\n".encode())

    async def heartbeat(self) -> None:
        """A comment, which tells both sides that the other is there. Raises Gone."""
        await self._write(b": \n\n")

    async def _write(self, data: bytes) -> None:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise Gone
        try:
            await asyncio.wait_for(self.response.write(data), WRITE_TIMEOUT_S)
        except TimeoutError:
            transport.abort()
            raise Gone from None
        except (ConnectionError, RuntimeError):
            raise Gone from None


def frame(event: str, data: bytes, id_: str) -> bytes:
    """The bytes of one event."""
    return f"event: {event}\nid: {id_}\ndata: ".encode() + data + b"\n\n"
