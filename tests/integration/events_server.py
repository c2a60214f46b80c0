"""A small server that keeps the contract of `/api/v1/events`, and that can be told to fail in the ways a real one does."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from ingest.events import Event
from ingest.events.decode import Limits, decode

KEY = "sg_test"
Failure = Callable[[], web.StreamResponse] | str


class EventsServer:
    """Decodes what it is sent as the service does and keeps each sequence of a source once.

    `failures` are used up one a request, in order: an answer to give instead, `lost` to commit and then break the connection,
    or `broken` to break it before.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.events: list[Event] = []
        self.requests: list[int] = []
        self.failures: deque[Failure] = deque()
        self.most_at_once = 0
        self._at_once = 0
        self._held: dict[tuple[str, str], int] = {}

    def of(self, kind: str) -> list[Event]:
        """The events of a kind, in the order in which they were kept."""
        return [event for event in self.events if event.kind == kind]

    async def accept(self, request: web.Request) -> web.StreamResponse:
        """`POST /api/v1/events`."""
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._accept(request)
        finally:
            self._at_once -= 1

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"title": "Unauthorized", "detail": "this API key is not known"}, status=401)
        body = await request.read()
        failure = self.failures.popleft() if self.failures else None
        if failure == "broken":
            return _break(request)
        if failure is not None and failure != "lost":
            assert not isinstance(failure, str)
            return failure()
        await asyncio.sleep(0)
        decoded = decode(body, request.content_type, now=dt.datetime.now(dt.UTC), limits=Limits())
        self.requests.append(len(decoded.events) + len(decoded.rejected))
        for event in decoded.events:
            self._keep(event)
        if failure == "lost":
            return _break(request)
        answer = {"accepted": len(decoded.events), "rejected": msgspec.to_builtins(decoded.rejected)}
        return web.json_response(answer, status=202 if decoded.events or not decoded.rejected else 422)

    def _keep(self, event: Event) -> None:
        identity = (event.kind, event.source)
        assert isinstance(event.sequence, int)
        if event.sequence > self._held.get(identity, -1):
            self._held[identity] = event.sequence
            self.events.append(event)

    async def sequence(self, request: web.Request) -> web.StreamResponse:
        """`GET /api/v1/events/sequence`."""
        identity = (request.query["type"], request.query["source"])
        return web.json_response({"sequence": self._held.get(identity)})


def free_port() -> int:
    """A port below those that the system hands out by itself, so that a server can come back to it."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def _break(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def refusing(status: int, detail: str = "", **headers: str) -> Callable[[], web.StreamResponse]:
    """An answer that is an error, as a problem document."""
    problem: dict[str, Any] = {"title": "Problem", "status": status, "detail": detail}
    return lambda: web.json_response(
        problem, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


@asynccontextmanager
async def events_server(port: int | None = None, server: EventsServer | None = None) -> AsyncIterator[EventsServer]:
    """Runs the server, on a free port unless one is given; a `server` that ran before keeps what it holds."""
    port = port or free_port()
    server = server or EventsServer(port)
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/api/v1/events", server.accept)
    application.router.add_get("/api/v1/events/sequence", server.sequence)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield server
    finally:
        await runner.cleanup()
