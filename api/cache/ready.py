"""An answer that is ready for the wire: its head and body were made before, only what moves is added for each request."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from api.headers import CONSTANT, DEFAULTS

_COPIED = 64 * 1024
"""Smaller bodies are sent together with their head."""
_REASONS = {200: "OK", 304: "Not Modified"}


def head(status: int, headers: Mapping[str, str], size: int | None) -> bytes:
    """The part of a head that is the same for every request. Raises ValueError for a header that would break it."""
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}"]
    if size is not None:
        lines.append(f"Content-Length: {size}")
    return ("\r\n".join(lines) + "\r\n").encode() + _lines({**DEFAULTS, **headers, **CONSTANT})


def _lines(headers: Mapping[str, str]) -> bytes:
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        raise ValueError("a header holds the end of a line")
    return text.encode()


class Ready(web.StreamResponse):
    """Such an answer, for HTTP/1.1 on a connection that stays.

    `headers` are those that signals add which wait for the head of an answer, as to any other's.
    """

    def __init__(self, status: int, head: bytes, body: bytes, as_of: str) -> None:
        super().__init__(status=status)
        self._head = head
        self._content = body
        self._as_of = as_of
        self._moving = b""
        self._gone = False

    def mark(self, request_id: str, seconds: float, more: str = "") -> None:
        """Says which request it answers, and how long that took. `more` are lines of the head that differ between requests."""
        text = f"X-As-Of: {self._as_of}\r\nX-Request-ID: {request_id}\r\nX-Process-Time: {seconds:.6f}\r\n{more}"
        self._moving = text.encode()

    @property
    def prepared(self) -> bool:
        """Whether it was sent."""
        return self._gone

    @property
    def keep_alive(self) -> bool | None:
        """The connection stays."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Sends it whole. Raises ConnectionResetError where nobody is there any more."""
        if self._gone:
            return None
        self._gone = True
        if isinstance(request, web.Request):
            for app in request.match_info.apps:
                await app.on_response_prepare.send(request, self)
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the connection is closing")
        more = _lines(self.headers) if self.headers else b""
        head = b"".join((self._head, _date(), self._moving, more, b"\r\n"))
        if len(self._content) < _COPIED:
            transport.write(head + self._content)
        else:
            transport.write(head)
            transport.write(self._content)
        await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""


_now = (0, b"")


def _date() -> bytes:
    global _now
    second = int(time.time())
    if _now[0] != second:
        _now = (second, f"Date: {email.utils.formatdate(second, usegmt=True)}\r\n".encode())
    return _now[1]
