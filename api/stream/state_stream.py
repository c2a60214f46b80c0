"""`mode=state`: the newest answer to a question, for as long as the reader stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from api.stream.cursor import encode_cursor
from api.stream.events_source import HEARTBEAT, EventSource, frame
from api.stream.hub import Hub
from api.stream.readers import Reader
from api.stream.tail import END


class StateStream:
    """One reader's stream. What to ask is asked once for all who ask the same."""

    __slots__ = ("_ask", "_hub", "_key", "_kind", "_organization", "_source")

    def __init__(
        self,
        source: EventSource,
        hub: Hub,
        organization: UUID,
        kind: str,
        key: str,
        ask: Callable[[], Awaitable[bytes]],
    ) -> None:
        self._source = source
        self._hub = hub
        self._organization = organization
        self._kind = kind
        self._key = key
        self._ask = ask

    async def beat(self) -> None:
        """A comment, which tells both sides that the other is there."""
        await self._source.send(HEARTBEAT)

    async def run(self, reader: Reader) -> None:
        """Pushes until the stream or the hub ends; a slow reader gets the newest answer, not every one between. Raises Gone."""
        hub, woken, version = self._hub, asyncio.Event(), 0

        def wire(body: bytes) -> bytes:
            return frame("state", body, encode_cursor((hub.position, END)))

        topic = hub.join_topic(self._organization, self._kind, self._key, self._ask, wire, woken.set)
        try:
            while reader.open and not hub.closing.is_set():
                if topic.version == version:
                    await woken.wait()
                    woken.clear()
                    continue
                version = topic.version
                if topic.error is not None:
                    raise topic.error
                await self._source.send(topic.told)
        finally:
            hub.leave_topic(self._organization, self._kind, self._key, woken.set)
