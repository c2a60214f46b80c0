"""Events as records of Kafka: the CloudEvent in JSON, its key, and whose it is in a header."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from ingest.events import Event
from ingest.identity import keys
from ingest.partitions import home_partitions

ORGANIZATION = "organization"
"""The header that says whose an event is: the organization's id as text."""

Headers = list[tuple[str, bytes]]

_JSON = msgspec.json.Encoder(decimal_format="number")


class Record(NamedTuple):
    """What is sent to one partition."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def encode(event: Event) -> bytes:
    """The CloudEvent in JSON, every number exact; decoding it gives the same event."""
    return _JSON.encode(event)


def by_partition(organization: UUID, kind: str, events: Sequence[Event], partitions: int) -> dict[int, list[Record]]:
    """The records of one organization's events of one kind, each with the partition that its key belongs to, in order."""
    hashes = keys(organization, kind, events)
    homes = home_partitions(b"".join(hashes), partitions).tolist()
    headers: Headers = [(ORGANIZATION, str(organization).encode())]
    found: dict[int, list[Record]] = defaultdict(list)
    for home, key, event in zip(homes, hashes, events, strict=True):
        found[home].append(Record(key, _JSON.encode(event), headers))
    return found
