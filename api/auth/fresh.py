"""A bounded cache of look-ups that are never believed for longer than a second."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

MOST_SECONDS = 1.0
"""A key that is revoked, or a member who is removed, is let in for so long at most."""

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


@dataclass
class _Entry(Generic[_V]):
    began: float
    found: asyncio.Future[_V | None]
    renewal: _Entry[_V] | None = None


class Fresh(Generic[_K, _V]):
    """Answers from a look-up that began less than `seconds` ago, else from a new one; all who ask meanwhile share it.

    What is asked for in the second half of that time is looked up again meanwhile, so that who asks often need not wait.
    What was not found is not kept: neither does a new key have to wait, nor can unknown ones push out the known.
    """

    def __init__(
        self,
        look_up: Callable[[_K], Awaitable[_V | None]],
        *,
        seconds: float = MOST_SECONDS,
        limit: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_up = look_up
        self._seconds = seconds
        self._limit = limit
        self._clock = clock
        self._entries: OrderedDict[_K, _Entry[_V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: _K) -> _V | None:
        """What is there now, or was less than `seconds` ago; raises what the look-up raises."""
        return (await self.dated(key))[0]

    async def dated(self, key: _K) -> tuple[_V | None, float]:
        """The same, and until when on the clock it need not be asked for again."""
        entry = self._entries.get(key)
        if entry is not None and self._over(entry) and entry.renewal is not None:
            entry = self._entries[key] = entry.renewal
        if entry is None or self._over(entry):
            entry = self._begin(key)
            self._entries[key] = entry
            entry.found.add_done_callback(partial(self._settled, key, entry))
            if len(self._entries) > self._limit:
                self._entries.popitem(last=False)
        elif entry.renewal is None and entry.found.done() and self._clock() - entry.began >= self._seconds / 2:
            entry.renewal = self._begin(key)
            entry.renewal.found.add_done_callback(partial(self._renewed, key, entry, entry.renewal))
        self._entries.move_to_end(key)
        # One caller who goes away does not take the answer from the others.
        found = await asyncio.shield(entry.found)
        return found, entry.began + self._seconds / 2

    def _over(self, entry: _Entry[_V]) -> bool:
        return self._clock() - entry.began >= self._seconds

    def _begin(self, key: _K) -> _Entry[_V]:
        # Its age counts from here: what changes while the database answers may not be in the answer.
        return _Entry(self._clock(), asyncio.ensure_future(self._look_up(key)))

    def _renewed(self, key: _K, old: _Entry[_V], new: _Entry[_V], found: asyncio.Future[_V | None]) -> None:
        if found.cancelled() or found.exception() is not None:
            # What is there stays for its time, and is looked up again.
            old.renewal = None
        elif self._entries.get(key) is old:
            self._entries[key] = new
        self._settled(key, new, found)

    def _settled(self, key: _K, entry: _Entry[_V], found: asyncio.Future[_V | None]) -> None:
        # Asking for the exception also says that it was seen, where every caller has gone.
        if (found.cancelled() or found.exception() is not None or found.result() is None) and self._entries.get(
            key
        ) is entry:
            del self._entries[key]
