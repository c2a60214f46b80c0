"""The open streams of a process. One task looks after all of them: credentials, heartbeats, readers that do not read."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import Literal

import structlog
from aiohttp import web

from api.auth.authenticate import Authenticator
from api.auth.principal import Principal
from api.errors import Problem
from api.limits.rates import credential
from storage.database import StorageUnavailable

log = structlog.get_logger(__name__)

LOOK_S = 0.5
"""How often credentials are looked at: a revoked one stops working within a second."""
HEARTBEAT_S = 15.0
STALL_S = 30.0
"""A reader that takes nothing of what waits for it for so long is cut."""

End = Literal["credential", "closing", "stalled", "failed", "overrun"]


class Reader:
    """One open stream: whose it is, its connection, and why it ended where that was not the reader's doing.

    `sent` tells how many bytes the connection was given so far; `beat` sends a sign of life, and is called every
    `HEARTBEAT_S` unless the connection still holds something. Without a principal nobody has signed in yet, at that
    `address`. Made in the task that serves the stream.
    """

    __slots__ = ("_principal", "_since", "_taken", "address", "beat", "ended", "sent", "task", "transport")

    def __init__(
        self,
        principal: Principal | None,
        transport: asyncio.WriteTransport,
        *,
        sent: Callable[[], int],
        beat: Callable[[], Awaitable[None]] | None = None,
        address: str = "",
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.transport = transport
        self.sent = sent
        self.beat = beat
        self.address = address
        self.ended: End | None = None
        self._principal = principal
        self._taken = -1
        self._since = 0.0

    @property
    def principal(self) -> Principal | None:
        """Whose stream it is; `Readers.change` replaces it."""
        return self._principal

    @property
    def open(self) -> bool:
        """Whether the stream goes on. To be asked after whatever may have taken a cancellation to itself, as a pool's waiting does."""
        return self.ended is None and not self.transport.is_closing()

    def end(self, why: End) -> None:
        """Ends the stream: whatever its task waits for, it goes on to its end."""
        if self.ended is None:
            self.ended = why
            self.task.cancel()

    def stalled(self, now: float) -> bool:
        """Whether the reader has taken nothing for `STALL_S`, although something waits for it. To be asked about once a second."""
        waiting = self.transport.get_write_buffer_size()
        if not waiting:
            self._taken = -1
            return False
        taken = self.sent() - waiting
        if taken > self._taken or self._taken == -1:
            self._taken, self._since = max(taken, 0), now
        return now - self._since >= STALL_S


class Readers:
    """All open streams. A stream is in it while it is served (`reading`)."""

    def __init__(
        self, authenticator: Authenticator, *, per_credential: int = 20_000, waiting_per_address: int = 100
    ) -> None:
        """At most so many are open with one credential, and so many wait at one address for somebody to sign in."""
        self._authenticator = authenticator
        self._per_credential = per_credential
        self._waiting_per_address = waiting_per_address
        self._open: Counter[Hashable] = Counter()
        self._by_principal: dict[Principal, set[Reader]] = {}
        # A wheel: every second one of the spokes gets its heartbeat, so that they do not all beat at once.
        self._wheel: list[set[Reader]] = [set() for _ in range(max(1, round(HEARTBEAT_S)))]
        self._spokes: dict[Reader, int] = {}
        self._at = 0
        self._tasks: list[asyncio.Task[None]] = []

    def __len__(self) -> int:
        return len(self._spokes)

    def __iter__(self) -> Iterator[Reader]:
        return iter(list(self._spokes))

    def start(self) -> None:
        """Begins to look after the streams."""
        self._tasks = [
            asyncio.create_task(self._look_always(), name="stream-credentials"),
            asyncio.create_task(self._beat_always(), name="stream-heartbeats"),
        ]

    async def stop(self) -> None:
        """Ends every stream and the looking after them."""
        for reader in list(self._spokes):
            reader.end("closing")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextlib.contextmanager
    def reading(self, reader: Reader) -> Iterator[None]:
        """The stream is open while the block runs. Ended from outside, the block ends early and without an exception."""
        self._keep(reader)
        # The spoke that was served last has the longest way to go.
        spoke = self._spokes[reader] = (self._at - 1) % len(self._wheel)
        self._wheel[spoke].add(reader)
        try:
            yield
        except asyncio.CancelledError:
            if reader.ended is None or reader.task.uncancel() > 0:
                raise
        finally:
            self._wheel[self._spokes.pop(reader)].discard(reader)
            self._forget(reader)

    def require_room(self, principal: Principal | None, address: str = "") -> None:
        """Raises Problem 429 where the credential, or without one the address, has as many streams open as it may."""
        who, most = (
            (("waiting", address), self._waiting_per_address)
            if principal is None
            else (credential(principal), self._per_credential)
        )
        if self._open[who] >= most:
            raise Problem(429, f"{most} streams are open already; close some", headers={"Retry-After": "5"})

    def change(self, reader: Reader, principal: Principal) -> None:
        """From now on the stream is this principal's. Raises Problem 429 where they have as many as they may."""
        if reader.principal is None or credential(reader.principal) != credential(principal):
            self.require_room(principal)
        self._forget(reader)
        reader._principal = principal
        self._keep(reader)

    def _keep(self, reader: Reader) -> None:
        self._open[_who(reader)] += 1
        if reader.principal is not None:
            self._by_principal.setdefault(reader.principal, set()).add(reader)

    def _forget(self, reader: Reader) -> None:
        who = _who(reader)
        self._open[who] -= 1
        if not self._open[who]:
            del self._open[who]
        if reader.principal is None:
            return
        shared = self._by_principal[reader.principal]
        shared.discard(reader)
        if not shared:
            del self._by_principal[reader.principal]

    async def _look_always(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._end([p for p in self._by_principal if self._authenticator.expired(p)])
            if not self._by_principal:
                continue
            try:
                self._end(await self._authenticator.lapsed(list(self._by_principal)))
            except StorageUnavailable as error:
                # Nothing can be read now, so nothing is told that should not be; it is looked at again at once.
                log.warning("credentials_not_checked", reason=str(error))
            except Exception:
                log.exception("credentials_not_checked")

    def _end(self, principals: list[Principal]) -> None:
        for principal in principals:
            for reader in list(self._by_principal.get(principal, ())):
                reader.end("credential")

    async def _beat_always(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(HEARTBEAT_S / len(self._wheel))
            for reader in [reader for reader in self._spokes if reader.stalled(loop.time())]:
                log.info("stream_stalled", waiting=reader.transport.get_write_buffer_size())
                reader.end("stalled")
                reader.transport.abort()
            for reader in list(self._wheel[self._at]):
                # What waits for a reader is a sign of life too; and where nothing waits, no write has to.
                if reader.beat is not None and reader.ended is None and not reader.transport.get_write_buffer_size():
                    try:
                        await reader.beat()
                    except Exception as error:
                        log.debug("heartbeat_failed", reason=type(error).__name__)
            self._at = (self._at + 1) % len(self._wheel)


def _who(reader: Reader) -> Hashable:
    return ("waiting", reader.address) if reader.principal is None else credential(reader.principal)


READERS = web.AppKey("readers", Readers)
"""Where the application holds them."""
