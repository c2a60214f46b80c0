"""A reader of server-sent events."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import aiohttp


def small_buffers(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket whose kernel keeps little of what is not read."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    return made


LONG = aiohttp.ClientTimeout(total=60)


@dataclass
class Stream:
    """What a reader of server-sent events sees."""

    answer: aiohttp.ClientResponse
    last_event_id: str = ""

    async def next(self, seconds: float = 10) -> tuple[str, Any] | None:
        """The next event's name and data; None at the end of the stream. Raises TimeoutError."""
        return await asyncio.wait_for(self._next(), seconds)

    async def _next(self) -> tuple[str, Any] | None:
        name, data = "", ""
        while line := await self.answer.content.readline():
            text = line.decode().rstrip("\n")
            field_, _, value = text.partition(": ")
            if field_ == "id":
                self.last_event_id = value
            elif field_ == "event":
                name = value
            elif field_ == "data":
                data = value
            elif text == "" and data:
                return name, json.loads(data, parse_float=Decimal)
        return None

    async def opened(self) -> bool:
        """Returns once something came; False at the end of the stream."""
        return bool(await asyncio.wait_for(self.answer.content.readline(), 10))

    async def placed(self) -> None:
        """Returns once the reader knows its place."""
        while not self.last_event_id:
            line = (await asyncio.wait_for(self.answer.content.readline(), 10)).decode()
            if line.startswith("id: "):
                self.last_event_id = line[4:].strip()

    async def ids(self, number: int) -> list[str]:
        """The ids of the next events, as many."""
        found = []
        for _ in range(number):
            event = await self.next()
            assert event is not None, f"the stream ended after {found}"
            assert event[0] == "event", event
            found.append(event[1]["id"])
        return found
