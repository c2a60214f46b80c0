"""Connections that have to keep going: a head, a body and an answer each have a time, whatever the other side does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from aiohttp import StreamReader, web

from api.errors import Problem
from api.headers import CONSTANT, DEFAULTS

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Times:
    """In seconds: for a head from its first byte (or from the connection's opening); for a body, which has a second more for each
    `body_rate` bytes that came, and may pause for `pause_s`; for a reader of an answer to take anything of it; between requests.
    """

    head_s: float = 10.0
    body_s: float = 30.0
    body_rate: int = 16_384
    pause_s: float = 15.0
    answer_s: float = 60.0
    keep_alive_s: float = 75.0
    look_s: float = 1.0


class BodyTooSlow(TimeoutError):
    """A request's body did not come in time. What reads it gets this."""


_HEAD = "".join(f"{name}: {value}\r\n" for name, value in {**CONSTANT, **DEFAULTS}.items())
_TOO_SLOW_BODY = msgspec.json.encode(
    {"title": "Request took too long", "status": 408, "detail": "the head did not come in time"}
)
_TOO_SLOW = (
    f"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/problem+json\r\nContent-Length: {len(_TOO_SLOW_BODY)}\r\n"
    f"Connection: close\r\n{_HEAD}\r\n"
).encode() + _TOO_SLOW_BODY


class TimedConnection(web.RequestHandler):
    """aiohttp's connection, which knows no time for a head, a body or an answer: it notes since when it waits for one.

    One whose requests come whole costs a comparison for each; only those that something is missing of are looked at.
    """

    __slots__ = ("_body", "_connections", "_received", "_since", "_touched", "_unread", "_unread_since")

    def __init__(self, connections: Connections, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._connections = connections
        self._body: StreamReader | None = None
        self._since: float | None = None
        self._touched = 0.0
        self._received: int | None = None
        self._unread = 0
        self._unread_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The first head is waited for."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing is waited for any more."""
        self._connections.waiting.discard(self)
        self._connections.unread.discard(self)
        self._body = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Notes whether the head or the body is whole now."""
        requests = self._request_count
        super().data_received(data)
        if self._request_count != requests:
            body = self._messages[-1][1]
            if body.is_eof():
                if self._since is not None:
                    self._whole()
            else:
                self._body = body
                self._wait()
                self._received = len(data)
        elif self._since is None:
            if data and not self._upgraded:
                self._wait()  # a part of the next head
        elif self._body is not None:
            if self._body.is_eof():
                self._whole()
            else:
                self._received = (self._received or 0) + len(data)
                self._touched = self._loop.time()
        elif self._received is None:
            self._received = len(data)

    def _wait(self) -> None:
        self._since = self._touched = self._loop.time()
        self._received = None
        self._connections.waiting.add(self)

    def _whole(self) -> None:
        self._body = self._since = None
        self._connections.waiting.discard(self)

    def pause_writing(self) -> None:
        """What waits for the other side is more than should."""
        super().pause_writing()
        self._unread, self._unread_since = self._waiting_bytes(), self._loop.time()
        self._connections.unread.add(self)

    def resume_writing(self) -> None:
        """It has taken enough."""
        super().resume_writing()
        self._connections.unread.discard(self)

    def _waiting_bytes(self) -> int:
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def look(self, now: float, times: Times) -> None:
        """Ends what has waited too long for a head or a body."""
        if self._since is None or self.transport is None:
            return
        if self._body is None:
            if now - self._since >= times.head_s:
                self._end_head()
            return
        if self._body.is_eof() or self._body.exception() is not None:
            self._whole()
        elif not self.transport.is_reading():
            # It is we who do not read now: a handler is behind.
            self._since += now - self._touched
            self._touched = now
        elif (
            now - self._touched >= times.pause_s
            or now - self._since >= times.body_s + (self._received or 0) / times.body_rate
        ):
            body = self._body
            self._whole()
            log.debug("body_too_slow")
            body.set_exception(BodyTooSlow())

    def _end_head(self) -> None:
        self._whole()
        if self._received is not None and self.transport is not None and not self._request_in_progress:
            # Of a connection that never said anything a browser may have thought that it would need it.
            self.transport.write(_TOO_SLOW)
        log.debug("head_too_slow")
        self.close() if self._request_in_progress else self.force_close()

    def look_at_reader(self, now: float, times: Times) -> None:
        """Cuts a connection whose other side takes nothing of its answer."""
        waiting = self._waiting_bytes()
        if waiting < self._unread:
            self._unread, self._unread_since = waiting, now
        elif now - self._unread_since >= times.answer_s and self.transport is not None:
            log.debug("answer_not_read", waiting=waiting)
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  (it quotes the request)
    ) -> web.StreamResponse:
        """The answer to what is no HTTP, in our shape. Nothing of it is told to the log, which anybody could fill so."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way already")
        if status >= 500:
            log.error("request_failed", exc_info=exc)
            detail = "something went wrong here"
        else:
            detail = "the request cannot be read as HTTP, or its head is too large"
        response = Problem(status, detail).response()
        response.headers.update({**CONSTANT, **DEFAULTS})
        response.force_close()
        return response


class Connections:
    """Makes the connections of a server, and looks after those that something is missing of."""

    def __init__(self, server: web.Server, times: Times, **options: Any) -> None:
        self.waiting: set[TimedConnection] = set()
        self.unread: set[TimedConnection] = set()
        self._server = server
        self._times = times
        self._options = {"keepalive_timeout": times.keep_alive_s, **options}

    def __call__(self) -> TimedConnection:
        """A connection that is about to be made."""
        return TimedConnection(self, self._server, loop=asyncio.get_running_loop(), **self._options)

    async def look_always(self) -> None:
        """Looks after them until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._times.look_s)
            now = loop.time()
            for one in list(self.waiting):
                one.look(now, self._times)
            for one in list(self.unread):
                one.look_at_reader(now, self._times)
