"""The answers that are kept in memory: bounded by bytes and number, the longest unused goes first, dropped by what changes them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple
from uuid import UUID

from api.auth.principal import Principal
from api.cache.entry import Entry, Key, Variant

Alias = tuple[str, object]
"""A request as it was sent: its path with parameters, and all its headers. Requests that mean the same may differ."""

_MOST_ALIASES = 16
_ALIAS_BYTES = 512
_LARGEST = 8
"""An entry has an eighth of all bytes at most."""


class Shortcut(NamedTuple):
    """How a request is answered while its sender is let in, unseen, and the entry holds."""

    entry: Entry
    variant: Variant
    unchanged: bool
    principal: Principal
    let_in_until: float


class Flight:
    """An answer that is being found. `stale`: a commit came meanwhile, so it may miss what somebody has been told of.

    `entry` is there when it is `done`, unless it could not be kept. `abandoned`: whoever was finding it went away.
    """

    def __init__(self, key: Key, kinds: tuple[str, ...], slots: tuple[int, ...], marks: tuple[int, ...]) -> None:
        self.key = key
        self.kinds = kinds
        self.slots = slots
        self.marks = marks
        self.stale = False
        self.abandoned = False
        self.entry: Entry | None = None
        self.done = asyncio.Event()


class Memory:
    """Entries by key, and flights. All of it is for one event loop."""

    def __init__(self, *, most_bytes: int, most_entries: int) -> None:
        self._most_bytes = most_bytes
        self._most_entries = most_entries
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._concerned: dict[tuple[UUID, str], set[Entry | Flight]] = {}
        self.shortcuts: dict[Alias, Shortcut] = {}
        self.flights: dict[Key, Flight] = {}
        self.bytes = 0
        self.evictions = 0
        self.invalidations = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Entry | None:
        """The entry with this key, whether it holds or not."""
        return self._entries.get(key)

    def used(self, entry: Entry) -> None:
        """Makes it the last to go."""
        if entry.kept:
            self._entries.move_to_end(entry.key)

    def shorten(self, alias: Alias, size: int, shortcut: Shortcut) -> None:
        """Remembers how a request that looks so is answered; `size` is that of the alias in bytes."""
        entry = shortcut.entry
        if not entry.kept:
            return
        if alias not in self.shortcuts:
            if len(entry.aliases) >= _MOST_ALIASES:
                return
            entry.aliases.append(alias)
            entry.size += _ALIAS_BYTES + size
            self.bytes += _ALIAS_BYTES + size
        self.shortcuts[alias] = shortcut
        self._shrink()

    def put(self, entry: Entry) -> None:
        """Keeps an entry in place of an older one, unless it is too large."""
        old = self._entries.get(entry.key)
        if old is not None:
            self.remove(old)
        if entry.size > self._most_bytes // _LARGEST:
            return
        entry.kept = True
        self._entries[entry.key] = entry
        self._add(entry)
        self.bytes += entry.size
        self._shrink()

    def grown(self, entry: Entry, added: int) -> None:
        """An entry has become larger by so many bytes."""
        if entry.kept:
            self.bytes += added
            self._shrink()

    def remove(self, entry: Entry) -> None:
        """Forgets an entry."""
        if not entry.kept:
            return
        entry.kept = False
        del self._entries[entry.key]
        for alias in entry.aliases:
            del self.shortcuts[alias]
        entry.aliases.clear()
        self.bytes -= entry.size
        self._discard(entry)

    def take_off(self, flight: Flight) -> None:
        """From now on whoever has this key waits for the flight."""
        self.flights[flight.key] = flight
        self._add(flight)

    def land(self, flight: Flight) -> None:
        """The flight has ended, one way or the other."""
        if self.flights.get(flight.key) is flight:
            del self.flights[flight.key]
        self._discard(flight)
        flight.done.set()

    def invalidate(self, organization: UUID, kind: str) -> int:
        """Events of this kind were counted: what they change is forgotten, and what is being read is not to be kept."""
        concerned = self._concerned.get((organization, kind))
        return 0 if concerned is None else self._drop(list(concerned))

    def clear(self, wanted: Callable[[Key], bool] = lambda _: True) -> int:
        """Forgets what is wanted, by its key; returns how many entries that were."""
        flights = [flight for flight in self.flights.values() if wanted(flight.key)]
        return self._drop([*(entry for entry in self._entries.values() if wanted(entry.key)), *flights])

    def _drop(self, found: Iterable[Entry | Flight]) -> int:
        dropped = 0
        for one in found:
            if isinstance(one, Flight):
                one.stale = True
                # Whoever asks from now on must not wait for it; those who wait asked before.
                if self.flights.get(one.key) is one:
                    del self.flights[one.key]
            else:
                self.remove(one)
                dropped += 1
        self.invalidations += dropped
        return dropped

    def _shrink(self) -> None:
        while self.bytes > self._most_bytes or len(self._entries) > self._most_entries:
            self.remove(next(iter(self._entries.values())))
            self.evictions += 1

    def _add(self, one: Entry | Flight) -> None:
        for kind in one.kinds:
            self._concerned.setdefault((one.key.organization, kind), set()).add(one)

    def _discard(self, one: Entry | Flight) -> None:
        for kind in one.kinds:
            place = (one.key.organization, kind)
            concerned = self._concerned.get(place)
            if concerned is not None:
                concerned.discard(one)
                if not concerned:
                    del self._concerned[place]
