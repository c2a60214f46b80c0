"""An answer that is kept: its bytes in every coding that was asked for, what changes it and until when it holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from api.cache.ready import head
from api.compression import Coding, compressed, compressible, weak
from api.freshness import stamp

_OVERHEAD = 2_048
"""Bytes that an entry costs beside its bodies, about."""
_TOGETHER = dt.timedelta(seconds=1)
"""Requests that come in at nearly the same time may be answered in another order."""


class Key(NamedTuple):
    """What an answer depends on. `sight` is what its caller may see (api.visibility.sight), `query` the sorted parameters."""

    organization: UUID
    sight: str
    path: str
    query: str
    media: str


@dataclass(frozen=True, slots=True)
class Variant:
    """The answer in one coding: its bytes, its headers, those of a 304 in its place, and both heads as they are sent."""

    body: bytes
    headers: dict[str, str]
    not_modified: dict[str, str]
    head: bytes
    head_not_modified: bytes


@dataclass(slots=True, eq=False)
class Entry:
    """An answer. `as_of`, `moves` and `until` are as in api.freshness.Freshness; `made`: when it was asked for, on the same clock.

    `slots` and `marks` are the places of the commit mark that concern it and what stood there before it was read.
    """

    key: Key
    kinds: tuple[str, ...]
    body: bytes
    headers: Mapping[str, str]
    as_of: dt.datetime
    moves: bool
    made: dt.datetime
    until: dt.datetime
    slots: tuple[int, ...] = ()
    marks: tuple[int, ...] = ()
    kept: bool = False
    size: int = 0
    as_of_text: str = ""
    variants: dict[Coding, Variant] = field(default_factory=dict)
    aliases: list[tuple[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.size = len(self.body) + len(self.key.path) + len(self.key.query) + _OVERHEAD
        self.as_of_text = stamp(self.as_of)

    def holds(self, now: dt.datetime) -> bool:
        """Whether its window is still where it was. A clock that was set back makes it unknown."""
        return self.made - _TOGETHER <= now < self.until

    async def make(self, how: Coding) -> int:
        """Makes the answer in a coding, where it is not there yet; what is too small for one stays as it is. Returns the bytes added."""
        worth = how != "identity" and compressible(self.headers.get("Content-Type", ""), len(self.body))
        made = _variant(self, how, await compressed(self.body, how)) if worth else _variant(self, "identity", self.body)
        if how in self.variants:
            return 0  # somebody else was as quick
        self.variants[how] = made
        added = len(made.body) if worth else 0
        self.size += added
        return added


def _variant(entry: Entry, how: Coding, body: bytes) -> Variant:
    headers = dict(entry.headers)
    if compressible(headers.get("Content-Type", ""), len(entry.body)):
        headers["Vary"] = f"{headers['Vary']}, Accept-Encoding" if "Vary" in headers else "Accept-Encoding"
    if how != "identity":
        headers["Content-Encoding"] = how
        headers["ETag"] = weak(headers["ETag"])
    # Of what the client has anyway a 304 tells nothing (RFC 9110, section 15.4.5).
    not_modified = {name: value for name, value in headers.items() if not name.startswith("Content-")}
    return Variant(body, headers, not_modified, head(200, headers, len(body)), head(304, not_modified, None))
