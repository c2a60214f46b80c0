"""`mode=events`: every event of an organization once, in feed order, across reconnections."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from uuid import UUID

import msgspec

from api.routing import ENCODER
from api.services import Services
from api.stream.cursor import decode_cursor, encode_cursor
from api.stream.events_source import EventSource, frame, place
from api.stream.readers import Reader
from api.stream.tail import END, Cursor, Tail
from storage.feed import FeedEvent

_CHUNK = 500


class Reset(msgspec.Struct):
    """The stream could not go on where the reader was: what it holds must be read again."""

    reason: str
    as_of: dt.datetime


class EventStream:
    """One reader's stream. `keep` says what it is told and `name` names that; it goes on behind `last_event_id`."""

    def __init__(
        self,
        source: EventSource,
        parts: Services,
        organization: UUID,
        keep: Callable[[FeedEvent], bool],
        name: str,
        last_event_id: str | None,
    ) -> None:
        self._source = source
        self._parts = parts
        self._hub = parts.hub
        self._organization = organization
        self._keep = keep
        self._name = name
        self._last_event_id = last_event_id
        self._cursor: Cursor = (0, END)
        self._idle: tuple[Tail, int] | None = None
        """The tail, and how often it had been woken when there was nothing more in it for this reader."""

    async def beat(self) -> None:
        """Tells the reader where it is: up to the last commit heard of there was nothing for it."""
        if self._idle is not None and self._idle[0].wakes == self._idle[1]:
            self._cursor = max(self._cursor, (self._hub.position, END))
            await self._source.send(place(encode_cursor(self._cursor)))

    async def run(self, reader: Reader) -> None:
        """Pushes until the reader's stream ends or the hub closes. Raises Gone, and StorageUnavailable where the feed cannot be read."""
        hub, tail = self._hub, self._hub.join_tail(self._organization)
        try:
            live = await self._begin(tail)
            while reader.open and not hub.closing.is_set():
                if live and self._cursor < tail.start:
                    self._cursor = max((hub.position, END), tail.end)
                    await self._reset("reader too slow")
                wakes, heard = tail.wakes, hub.position
                found = await tail.after(self._cursor, _CHUNK, heard)
                live = live or self._cursor >= tail.start
                if found:
                    await self._tell(tail, found)
                    continue
                self._cursor = max(self._cursor, (heard, END))
                if reader.open:
                    self._idle = (tail, wakes)
                    await tail.wait(wakes)
                    self._idle = None
        finally:
            hub.leave_tail(self._organization)

    async def _begin(self, tail: Tail) -> bool:
        """Finds the reader's place and tells it; returns whether that is where the tail is."""
        self._cursor = max((self._hub.position, END), tail.end)
        if not self._last_event_id:
            await self._source.send(place(encode_cursor(self._cursor)))
            return True
        asked = decode_cursor(self._last_event_id)
        lost = "cursor unknown" if asked is None else await self._hub.lost(asked)
        if asked is None or lost is not None:
            await self._reset(lost or "cursor unknown")
            return True
        self._cursor = asked
        return False

    async def _tell(self, tail: Tail, found: list[FeedEvent]) -> None:
        frames = tail.shared(self._cursor, found, self._name, lambda: self._frames(found))
        self._cursor = (found[-1].position, found[-1].item)
        if frames:
            await self._source.send(frames)

    def _frames(self, found: list[FeedEvent]) -> bytes:
        return b"".join(
            frame("event", event.event, encode_cursor((event.position, event.item)))
            for event in found
            if self._keep(event)
        )

    async def _reset(self, reason: str) -> None:
        self._parts.observation.resets.labels(reason).inc()
        reset = ENCODER.encode(Reset(reason, self._parts.now()))
        await self._source.send(frame("reset", reset, encode_cursor(self._cursor)))
