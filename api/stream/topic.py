"""The topic: one question whose answer is pushed to all who follow it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from storage.database import StorageUnavailable

log = structlog.get_logger(__name__)

IDLE_S = 15.0
"""A question is asked again after so long, although nothing came: a host that fell silent must leave a window that moves on."""


class Topic:
    """One question whose answer is pushed: asked again after a change that concerns it, at most once a second, for all its readers.

    `told` is the newest answer in the form that `wire` gives it, made once however many there are. Followers are called
    when there is another (`version` rises), when the question failed for good (`error`) and at the end; they must be quick.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[bytes]], interval_s: float, wire: Callable[[bytes], bytes] = bytes
    ) -> None:
        self._ask = ask
        self._interval_s = interval_s
        self._wire = wire
        self._wanted = asyncio.Event()
        self._changed = False
        self._asked = asyncio.Event()
        self._asked_at = float("-inf")
        self._body: bytes | None = None
        self._task: asyncio.Task[None] | None = None
        self.followers: set[Callable[[], None]] = set()
        self.told = b""
        self.error: Exception | None = None
        self.version = 0

    def start(self) -> None:
        """Begins to answer."""
        self.change()
        self._task = asyncio.create_task(self._run(), name="state-topic")

    def stop(self) -> None:
        """Ends; who waits is let go."""
        if self._task is not None:
            self._task.cancel()
        self._asked.set()
        self._tell()

    def change(self) -> None:
        """The answer may be another now."""
        self._changed = True
        self._wanted.set()

    async def refresh(self) -> bool:
        """Returns once the answer is not older than the interval; False where the question cannot be answered now."""
        if self.version and asyncio.get_running_loop().time() - self._asked_at < self._interval_s:
            return True
        self._wanted.set()
        before = self._asked_at
        await self._asked.wait()
        return self._asked_at > before and self.error is None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await self._wanted.wait()
            self._wanted.clear()
            changed, self._changed = self._changed, False
            began, version = loop.time(), self.version
            try:
                body = await self._ask()
                self.error = None
            except StorageUnavailable as error:
                # The streams stay open: the question is asked again.
                log.warning("state_not_read", reason=str(error))
                self._let_go()
                await asyncio.sleep(self._interval_s)
                self.change()
                continue
            except Exception as error:
                self.error, body = error, b""
                log.exception("state_failed")
            self._asked_at = began
            if body != self._body or self.error is not None:
                self._body = body
                self.told = b"" if self.error else self._wire(body)
                self.version += 1
                self._tell()
            self._let_go()
            # Who only asked whether there is something new does not make the next change wait.
            if changed or self.version != version:
                await asyncio.sleep(max(0.0, self._interval_s - (loop.time() - began)))

    def _tell(self) -> None:
        for follower in list(self.followers):
            follower()

    def _let_go(self) -> None:
        self._asked.set()
        self._asked = asyncio.Event()
