"""A topic that a WebSocket follows: its newest answer waits in one slot of the connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID

from api.stream.hub import Hub
from api.stream.readers import Reader
from api.ws.connection import Connection
from api.ws.messages import wrapped


class Following:
    """Joins the topic, tells its answer at once and at every change. `type_` is the messages' and the slot's name."""

    def __init__(
        self,
        hub: Hub,
        connection: Connection,
        reader: Reader,
        organization: UUID,
        kind: str,
        type_: str,
        ask: Callable[[], Awaitable[bytes]],
    ) -> None:
        self._hub = hub
        self._connection = connection
        self._reader = reader
        self._name = (organization, kind, f"socket {type_}")
        self._type = type_
        self._version = 0
        self._tells = 0
        self._topic = hub.join_topic(*self._name, ask, partial(wrapped, type_), self._told)
        self._told()

    def _told(self) -> None:
        if self._topic.error is not None:
            self._reader.end("failed")
        elif self._topic.version != self._version:
            self._version = self._topic.version
            self._tell()

    def _tell(self) -> None:
        self._tells += 1
        self._connection.tell(self._type, self._topic.told)

    async def again(self) -> bool:
        """Tells an answer that is not older than a second, though it may be the same; False where there is none now."""
        tells = self._tells
        if not await self._topic.refresh():
            return False
        if self._tells == tells:
            self._tell()
        return True

    def leave(self) -> None:
        """Follows no more."""
        self._hub.leave_topic(*self._name, self._told)
