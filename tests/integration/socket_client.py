"""What a front end sees of a WebSocket of the running service."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import aiohttp

from api.stream.readers import Reader
from tests.integration.api_service import Api
from tests.integration.stream_reader import small_buffers


@dataclass
class Socket:
    """An open WebSocket that reads JSON."""

    socket: aiohttp.ClientWebSocketResponse

    async def send(self, **message: Any) -> None:
        """A message."""
        await self.socket.send_str(json.dumps(message))

    async def next(self, seconds: float = 10) -> dict[str, Any]:
        """The next message; fails at the end of the connection."""
        message = await self.socket.receive(seconds)
        assert message.type is aiohttp.WSMsgType.TEXT, (message.type, self.socket.close_code)
        found: dict[str, Any] = json.loads(message.data, parse_float=Decimal)
        return found

    async def next_of(self, type_: str, seconds: float = 10) -> Any:
        """The data of the next message of a type; others are passed over."""
        async with asyncio.timeout(seconds):
            while (message := await self.next(seconds))["type"] != type_:
                pass
            return message["data"]

    async def end(self, seconds: float = 10) -> tuple[int | None, list[dict[str, Any]]]:
        """The close code, and what came before."""
        rest = []
        async with asyncio.timeout(seconds):
            while (message := await self.socket.receive()).type is aiohttp.WSMsgType.TEXT:
                rest.append(json.loads(message.data))
        return self.socket.close_code, rest

    def served_by(self, api: Api) -> Reader:
        """The service's side of it, whose kernel keeps little of what is not read from now on."""
        own = self.socket.get_extra_info("sockname")
        (reader,) = [one for one in api.readers if one.transport.get_extra_info("peername") == own]
        reader.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        return reader

    async def signed_in(self, headers: dict[str, str], **more: Any) -> dict[str, Any]:
        """Signs in by the first message with what a bearer header holds."""
        await self.send(type="auth", token=headers["Authorization"].removeprefix("Bearer "), **more)
        message = await self.next()
        assert message["type"] == "auth_ok", message
        data: dict[str, Any] = message["data"]
        return data


@asynccontextmanager
async def connected(
    api: Api,
    path: str = "/ws",
    *,
    headers: dict[str, str] | None = None,
    narrow: bool = False,
    **options: Any,
) -> AsyncIterator[Socket]:
    """A WebSocket with no credential but what is given; a `narrow` one has a small buffer for what is not read."""
    connector = aiohttp.TCPConnector(socket_factory=small_buffers if narrow else None)
    async with (
        aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.ws_connect(api.url + path, headers=headers, **options) as opened,
    ):
        yield Socket(opened)


@asynccontextmanager
async def entered(api: Api, path: str = "/ws", **options: Any) -> AsyncIterator[Socket]:
    """A WebSocket that the organization's key has signed in."""
    async with connected(api, path, **options) as opened:
        await opened.signed_in(api.headers)
        yield opened
