"""Records by the column, sorted by whose they are: each is looked at once, for it has left the processor's caches by then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

from ingest.kafka.records import ORGANIZATION
from ingest.kafka.slices import Slice

Headers = tuple[tuple[str, bytes | None], ...]
"""A record's headers, in their order."""

_TOGETHER = 1_000
"""So many records are taken apart together: few enough for the processor's caches, enough for work by the column."""


@dataclass
class Columns:
    """Records of one kind; `places` has the partition that each was read from."""

    records: list[Any] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.records)

    def extend(self, other: Columns) -> None:
        """Takes over other records."""
        self.records += other.records
        self.keys += other.keys
        self.values += other.values
        self.places += other.places

    def some(self, first: int, count: int) -> Columns:
        """At most so many of them, from the `first` on."""
        last = first + count
        return Columns(
            self.records[first:last], self.keys[first:last], self.values[first:last], self.places[first:last]
        )

    def only(self, keep: Sequence[bool]) -> Columns:
        """Those for which `keep` is true."""
        return Columns(
            *(list(compress(column, keep)) for column in (self.records, self.keys, self.values, self.places))
        )


def organization_header(headers: Headers) -> bytes | None:
    """What a record's headers say whose it is; None where there is no such header, or more than one."""
    found = [value for name, value in headers if name == ORGANIZATION]
    return bytes(found[0] or b"") if len(found) == 1 else None


def by_organization(slices: Iterable[Slice]) -> dict[tuple[str, bytes | None], Columns]:
    """The records of slices, by their kind and what `organization_header` says of them, in their order."""
    found: dict[tuple[str, bytes | None], Columns] = defaultdict(Columns)
    for part in slices:
        for at in range(0, len(part.records), _TOGETHER):
            records = part.records[at : at + _TOGETHER]
            headers = [record.headers for record in records]
            keys, values = [record.key for record in records], [record.value for record in records]
            # Nearly always the same for all of them.
            if headers.count(headers[0]) == len(headers):
                columns = Columns([*records], keys, values, [part.partition] * len(records))
                found[part.kind, organization_header(headers[0])].extend(columns)
                continue
            for record, of_record, key, value in zip(records, headers, keys, values, strict=True):
                one = found[part.kind, organization_header(of_record)]
                one.records.append(record)
                one.keys.append(key)
                one.values.append(value)
                one.places.append(part.partition)
    return found
