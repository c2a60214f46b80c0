"""What makes an event the same one: the 16-byte hash of its identity, which is also its key in Kafka."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from uuid import UUID

from ingest.events import Event

HASH_BYTES = 16


def identities(organization: UUID, kind: str, events: Iterable[Event]) -> list[bytes]:
    """The 16-byte hashes of the identities of events of one organization and kind.

    No part can hold a NUL, so no two identities read the same.
    """
    start = organization.bytes + kind.encode() + b"\0"
    return _hashes(start, [f"{event.source}\0{event.id}" for event in events])


def keys(organization: UUID, kind: str, events: Sequence[Event]) -> list[bytes]:
    """The keys in Kafka of one organization's events of one kind.

    It is the hash of the identity, so that the same event again meets the partition that knows it. An event that its source
    numbers has the hash of its source: all of a source's numbers pass one partition, in their order.
    """
    start = organization.bytes + kind.encode() + b"\0"
    return _hashes(
        start,
        [f"{event.source}\0{event.id}" if event.sequence is None else f"{event.source}\0\0" for event in events],
    )


def _hashes(start: bytes, names: Iterable[str]) -> list[bytes]:
    """The hash of each name behind the same start, which is read once: to copy its state is quicker than to set up another."""
    copy = hashlib.blake2b(start, digest_size=HASH_BYTES).copy
    found = []
    for name in names:
        hashed = copy()
        hashed.update(name.encode())
        found.append(hashed.digest())
    return found
