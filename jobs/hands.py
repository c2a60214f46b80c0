"""Hands: each claims a piece of work, does it under a lease that its heartbeat renews, and claims the next."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from storage.database import QueryTooSlow, StorageUnavailable

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Lease:
    """A piece of work that was claimed: it is this process's until the lease runs out, or somebody else has it.

    `work` does it and commits what it came to. `renew` is the heartbeat, False where it is not this process's any more. `release` leaves it
    to whoever claims it next, at once. `named` are the fields by which the log knows it.
    """

    named: Mapping[str, str]
    work: Callable[[], Coroutine[Any, Any, None]]
    renew: Callable[[], Awaitable[bool]]
    release: Callable[[], Awaitable[None]]


class Hands:
    """The hands of this process that do one kind of work; `kind` is its name in the log.

    `claim` gives the next piece of work, None where there is none; it is asked again after `look_s` seconds, or when somebody calls
    `look`. A lease lasts `lease_s` seconds from the claim, and from each heartbeat.
    """

    def __init__(
        self, kind: str, claim: Callable[[], Awaitable[Lease | None]], *, lease_s: float, look_s: float
    ) -> None:
        self._kind = kind
        self._claim = claim
        self._lease_s = lease_s
        self._look_s = look_s
        self._wake = asyncio.Semaphore(0)
        self._stopping = False

    def look(self) -> None:
        """There may be something to claim."""
        if self._wake.locked():
            self._wake.release()

    @asynccontextmanager
    async def at_work(self, count: int, *, last_s: float = 0.0) -> AsyncIterator[None]:
        """So many hands work while the block does; at its end nothing more is claimed.

        What they are at may end within `last_s` seconds, and is released then.
        """
        tasks = [asyncio.create_task(self._work(), name=f"{self._kind}-hand-{number}") for number in range(count)]
        try:
            yield
        finally:
            self._stopping = True
            if last_s:
                for _ in tasks:
                    self._wake.release()
                await asyncio.wait(tasks, timeout=last_s)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self) -> None:
        while not self._stopping:
            lease = await self._claimed()
            if lease is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look_s):
                        await self._wake.acquire()
            else:
                # Another hand may take the next one.
                self.look()
                await self._hold(lease)

    async def _claimed(self) -> Lease | None:
        try:
            return await self._claim()
        except (StorageUnavailable, QueryTooSlow) as error:
            log.warning(f"{self._kind}_not_claimed", reason=str(error))
        except Exception:
            log.exception(f"{self._kind}_not_claimed")
        return None

    async def _hold(self, lease: Lease) -> None:
        """Does the work while its lease is renewed; stops where it is not this process's any more."""
        working = asyncio.create_task(lease.work(), name=f"{self._kind}-{'-'.join(lease.named.values())}")
        try:
            while not (await asyncio.wait({working}, timeout=self._lease_s / 3))[0]:
                if not await self._renewed(lease):
                    working.cancel()
        except asyncio.CancelledError:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            try:
                await lease.release()
            except (StorageUnavailable, QueryTooSlow) as error:
                log.warning(f"{self._kind}_not_released", **lease.named, reason=str(error))
            raise
        if working.cancelled():
            log.info(f"{self._kind}_stopped", **lease.named)
        elif (problem := working.exception()) is not None:
            # What it came to could not be committed. The next one may be all the same; this one is tried again after its lease.
            expected = isinstance(problem, StorageUnavailable | QueryTooSlow)
            log.error(f"{self._kind}_left", **lease.named, reason=str(problem), exc_info=None if expected else problem)

    async def _renewed(self, lease: Lease) -> bool:
        """The heartbeat. Where the database cannot be asked the work goes on: whoever claims it meanwhile is told apart at its end."""
        try:
            return await lease.renew()
        except (StorageUnavailable, QueryTooSlow) as error:
            log.warning(f"{self._kind}_not_renewed", **lease.named, reason=str(error))
        except Exception:
            # A defect; the hand goes on with the next one, and this one's lease runs out.
            log.exception(f"{self._kind}_not_renewed", **lease.named)
        return True
