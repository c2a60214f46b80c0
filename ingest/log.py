"""The log: the port between those who accept events and the sink that counts them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import msgspec

from ingest.events import Event


class Unavailable(Exception):
    """The log cannot take events now: all that was offered is to be sent again, after `retry_after` seconds.

    What arrived nevertheless is known then.
    """

    def __init__(self, reason: str, retry_after: float = 1.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Batch(msgspec.Struct):
    """Events of one organization that are published together. `keys` are theirs (ingest.identity.keys) where they are known."""

    organization: UUID
    events: Sequence[Event]
    keys: Sequence[bytes] | None = None

    @property
    def size(self) -> int:
        """How many events."""
        return len(self.events)


class Packed(Protocol):
    """A batch in the form in which its log takes it."""

    @property
    def size(self) -> int:
        """How many events."""


class Refusal(msgspec.Struct, frozen=True):
    """An event that the database refused, by its position in the published batch."""

    position: int
    error: str


class Log(Protocol):
    """Takes events and answers once they are safe: from then on each counts exactly once."""

    def pack(self, batch: Batch) -> Packed:
        """Does what can be done for a batch by itself; worth it for a large one. Blocking: call it in the thread that decoded the batch."""

    async def publish(self, batch: Batch | Packed) -> list[Refusal]:
        """Returns the events that were refused; all others are accepted. Raises Unavailable where none is."""

    async def close(self) -> None:
        """Finishes what was accepted and takes no more."""


class Position(msgspec.Struct, frozen=True):
    """How far one partition of a kind's log is counted, and by whom: the sink moves it from `expected` to `next`, or not at all.

    `partitions` is how many the kind has. `epoch` is what its owner was given when it claimed the partition: whoever has an older
    one has lost it. `appended` is when the last record before `next` was appended, None where that is not known.
    """

    kind: str
    partition: int
    partitions: int
    epoch: int
    expected: int
    next: int
    appended: dt.datetime | None = None


class Fenced(Exception):
    """Partitions that are another's now, or counted further than was expected. Nothing of the group was written."""

    def __init__(self, partitions: Sequence[tuple[str, int]]) -> None:
        super().__init__("lost " + ", ".join(f"{kind}/{partition}" for kind, partition in partitions))
        self.partitions = list(partitions)


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that is passed without being counted, and why. `organization` is what it says of itself, if anything."""

    kind: str
    partition: int
    offset: int
    organization: str | None
    reason: str


class Outcome(msgspec.Struct):
    """What the sink made of a group of batches: refusals a batch, events counted and events known before.

    `moved` is False where events were refused and positions were given: these stand where they were, until the refused events
    have been put away.
    """

    refusals: list[list[Refusal]]
    counted: int
    known: int
    moved: bool = True


class Sink(Protocol):
    """Writes groups of batches, each group in one transaction. Blocking: it is called from a thread."""

    def write(self, batches: Sequence[Batch]) -> Outcome:
        """Counts every event once. Raises Unavailable where the database cannot take the group."""
