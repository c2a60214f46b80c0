"""What makes an event the same one: the 16-byte hash of its identity, which is also its key in Kafka."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from uuid import UUID

from ingest.events import Event

HASH_BYTES = 16


def identities(kind: str, owned: Iterable[tuple[UUID, Event]]) -> list[bytes]:
    """The 16-byte hashes of the identities of events of one kind, each with its organization.

    No part can hold a NUL, so no two identities read the same.
    """
    hashes: list[bytes] = []
    last: UUID | None = None
    start = b""
    for organization, event in owned:
        if organization is not last:
            last, start = organization, organization.bytes + kind.encode() + b"\0"
        text = start + f"{event.source}\0{event.id}".encode()
        hashes.append(hashlib.blake2b(text, digest_size=HASH_BYTES).digest())
    return hashes


def keys(organization: UUID, kind: str, events: Sequence[Event]) -> list[bytes]:
    """The keys in Kafka of one organization's events of one kind.

    It is the hash of the identity, so that the same event again meets the partition that knows it. An event that its source
    numbers has the hash of its source: all of a source's numbers pass one partition, in their order.
    """
    start = organization.bytes + kind.encode() + b"\0"
    blake = hashlib.blake2b
    return [
        blake(
            start + (f"{event.source}\0{event.id}" if event.sequence is None else f"{event.source}\0\0").encode(),
            digest_size=HASH_BYTES,
        ).digest()
        for event in events
    ]
