"""One WebSocket: what waits for its reader is bounded and conflated, what it may send is too, and it closes with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.abc import AbstractStreamWriter

from api.errors import Problem
from api.stream.events_source import MOST_WAITING
from api.ws.messages import failure

log = structlog.get_logger(__name__)

NOT_SIGNED_IN, NOT_ALLOWED, TOO_MANY = 4401, 4403, 4429
"""Close codes after HTTP's statuses."""

MOST_MESSAGE_BYTES = 64 * 1024
MOST_SLOTS = 256
"""Different messages that may wait for a reader; where there would be more, the connection is closed."""
MESSAGES_A_SECOND, MESSAGES_AT_ONCE = 10.0, 40.0
_PING_S = 20.0
"""A pong must come within half of it, so that a reader that is gone is found out after 30 s."""
_CLOSE_S = 1.0


class Closed(Exception):
    """The connection is to be closed with this code; the reason is for the other side (at most 123 bytes)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Connection:
    """An open WebSocket. What is told goes into slots: of one slot only the newest message waits.

    `on_overrun` is called where there would be more slots than are kept.
    """

    def __init__(self, request: web.Request) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        self.transport: asyncio.Transport = transport
        self.socket = web.WebSocketResponse(
            heartbeat=_PING_S, timeout=_CLOSE_S, max_msg_size=MOST_MESSAGE_BYTES, compress=False
        )
        self.sent = 0
        self.on_overrun: Callable[[], None] = lambda: None
        self.request = request
        self._writer: AbstractStreamWriter | None = None
        self._slots: dict[str, bytes] = {}
        self._replies = 0
        self._woken = asyncio.Event()
        self._allowed = MESSAGES_AT_ONCE
        self._counted_at = asyncio.get_running_loop().time()

    async def open(self) -> None:
        """Answers the upgrade; raises Problem 426 where none is asked for."""
        if not self.socket.can_prepare(self.request):
            raise Problem(426, "this path speaks WebSocket (RFC 6455)", headers={"Upgrade": "websocket"})
        self.transport.set_write_buffer_limits(MOST_WAITING)
        self._writer = await self.socket.prepare(self.request)

    def tell(self, slot: str, message: bytes) -> None:
        """Sends a message when the reader has taken what waits; it takes the place of one that waits in its slot."""
        if len(self._slots) >= MOST_SLOTS and slot not in self._slots:
            self.on_overrun()
            return
        self._slots[slot] = message
        self._woken.set()

    def reply(self, message: bytes) -> None:
        """Sends a message that no other one replaces."""
        self._replies += 1
        self.tell(f"reply {self._replies}", message)

    async def send_always(self) -> None:
        """Sends what is told, for as long as the connection is. Raises ConnectionError."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._slots:
                slot = next(iter(self._slots))
                await self._send(self._slots.pop(slot))

    async def _send(self, message: bytes) -> None:
        assert self._writer is not None
        self.sent += len(message)
        await self.socket.send_frame(message, WSMsgType.TEXT)
        await self._writer.drain()

    async def receive(self) -> str | None:
        """The next text; None at the connection's end. Raises Closed for a sender that is too fast."""
        while True:
            message = await self.socket.receive()
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return None
            self._count()
            if message.type is WSMsgType.TEXT:
                return str(message.data)
            self.reply(failure("messages are texts, not bytes"))

    def _count(self) -> None:
        now = asyncio.get_running_loop().time()
        self._allowed = min(MESSAGES_AT_ONCE, self._allowed + (now - self._counted_at) * MESSAGES_A_SECOND)
        self._counted_at = now
        if self._allowed < 1:
            raise Closed(WSCloseCode.POLICY_VIOLATION, f"more than {MESSAGES_A_SECOND:.0f} messages a second")
        self._allowed -= 1

    async def close(self, code: int, reason: str) -> None:
        """Sends what waits and the close frame; a reader that takes neither within a second is cut."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                while self._slots and not self.socket.closed:
                    await self._send(self._slots.pop(next(iter(self._slots))))
                await self.socket.close(code=code, message=reason.encode()[:123])
        except (TimeoutError, ConnectionError, RuntimeError) as error:
            log.debug("socket_not_closed", reason=type(error).__name__)
        finally:
            if self.transport.get_write_buffer_size():
                self.transport.abort()
