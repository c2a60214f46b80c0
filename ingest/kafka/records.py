"""Events as records of Kafka: the CloudEvent in JSON, its key, and whose it is in a header."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import msgspec

from ingest.events import Event
from ingest.identity import keys
from ingest.log import Batch
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


def event_json(event: Event) -> bytes:
    """The CloudEvent in JSON, every number exact; decoding it gives the same event."""
    return _JSON.encode(event)


@dataclass(frozen=True)
class PackedRecords:
    """A batch in the form in which Kafka takes it: for each kind the keys and the values of its events, in their order."""

    organization: UUID
    size: int
    kinds: dict[str, tuple[list[bytes], list[bytes]]]

    def by_partition(self, kind: str, partitions: int) -> dict[int, list[Record]]:
        """The records of a kind, each with the partition that its key belongs to, in order."""
        hashes, values = self.kinds[kind]
        homes = home_partitions(b"".join(hashes), partitions).tolist()
        headers: Headers = [(ORGANIZATION, str(self.organization).encode())]
        found: dict[int, list[Record]] = defaultdict(list)
        for home, key, value in zip(homes, hashes, values, strict=True):
            found[home].append(Record(key, value, headers))
        return found


def pack_records(batch: Batch) -> PackedRecords:
    """Encodes the events of a batch."""
    kinds: dict[str, list[Event]] = defaultdict(list)
    for event in batch.events:
        kinds[event.kind].append(event)
    write = _JSON.encode
    packed = {
        kind: (keys(batch.organization, kind, events), [write(event) for event in events])
        for kind, events in kinds.items()
    }
    return PackedRecords(batch.organization, len(batch.events), packed)
