"""Intake: the records of a poll become batches for the sink, records that lie in the wrong partition, and dead letters."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog

from ingest.events import KINDS, Event
from ingest.events.bodies import MalformedBody
from ingest.events.decode import Limits, decode
from ingest.identity import keys
from ingest.kafka.records import ORGANIZATION
from ingest.kafka.slices import Slice
from ingest.log import Batch, DeadLetter, Packed
from ingest.partitions import home_partitions

log = structlog.get_logger(__name__)

Refuse = Callable[[UUID, Event], str | None]
"""Says why an event that was not written by our own producer is not taken, or None."""

_JSON = "application/json"

_TOGETHER = 1_000
"""So many records are decoded and packed together: few enough for the processor's caches, enough for work by the column."""


@dataclass(frozen=True)
class Stray:
    """A record that belongs to another partition of its kind: `home`, by the key that it should have had."""

    kind: str
    home: int
    key: bytes
    record: Any


@dataclass(frozen=True)
class Dead:
    """A record that cannot be counted."""

    letter: DeadLetter
    record: Any


@dataclass
class Taken:
    """What a poll brought. `origins` has for each batch the kind and the records that its events came from, in the same order."""

    batches: list[Packed] = field(default_factory=list)
    origins: list[tuple[str, list[Any]]] = field(default_factory=list)
    strays: list[Stray] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)


def organization_header(record: Any) -> bytes | None:
    """What a record's header says whose it is; None where there is no such header, or more than one."""
    headers = record.headers
    if len(headers) == 1 and headers[0][0] == ORGANIZATION:
        return bytes(headers[0][1] or b"")
    found = [value for name, value in headers if name == ORGANIZATION]
    return bytes(found[0] or b"") if len(found) == 1 else None


def parse_organization(header: bytes | None) -> UUID | None:
    """The organization that a header names, whether it exists or not; None where it is no id."""
    try:
        return UUID(header.decode("ascii")) if header is not None else None
    except (ValueError, UnicodeDecodeError):
        return None


class Intake:
    """Decodes records. It knows the number of partitions of each kind and which organizations there are.

    Records are decoded many at once. Their keys, which our own producers make of the events' identities, prove that each event is
    that of its record; where one does not match, every record is looked at by itself. `pack` does what can be done for a batch by
    itself, while its events are in the processor's caches still.
    """

    def __init__(self, limits: Limits, refuse: Refuse, pack: Callable[[Batch], Packed] = lambda batch: batch) -> None:
        self._limits = limits
        self._refuse = refuse
        self._pack = pack

    def take(
        self,
        slices: Sequence[Slice],
        partitions: Mapping[str, int],
        organizations: Mapping[bytes, UUID],
        now: dt.datetime,
    ) -> Taken:
        """Sorts the records of a poll. `organizations` are those that exist, by header. Blocking: for a thread."""
        taken = Taken()
        groups: dict[tuple[str, bytes], list[tuple[int, Any]]] = defaultdict(list)
        for part in slices:
            for record in part.records:
                header = organization_header(record)
                if header is not None and header in organizations:
                    groups[part.kind, header].append((part.partition, record))
                else:
                    taken.dead.append(_dead(part.kind, part.partition, record, _why_nobody(record, header)))
        for (kind, header), owned in groups.items():
            for at in range(0, len(owned), _TOGETHER):
                self._decode(kind, organizations[header], owned[at : at + _TOGETHER], partitions[kind], now, taken)
        return taken

    def _decode(
        self,
        kind: str,
        organization: UUID,
        owned: list[tuple[int, Any]],
        partitions: int,
        now: dt.datetime,
        taken: Taken,
    ) -> None:
        events = self._all_at_once(kind, organization, [record for _, record in owned], now)
        if events is not None:
            hashes = [record.key for _, record in owned]
        else:
            owned, events = self._one_by_one(kind, organization, owned, now, taken)
            hashes = keys(organization, kind, events)
        if not events:
            return
        homes = home_partitions(b"".join(hashes), partitions).tolist()
        here = [home == place for home, (place, _) in zip(homes, owned, strict=True)]
        if not all(here):
            for home, at_home, key, (_, record) in zip(homes, here, hashes, owned, strict=True):
                if not at_home:
                    taken.strays.append(Stray(kind, home, key, record))
            owned = [item for item, at_home in zip(owned, here, strict=True) if at_home]
            events = [event for event, at_home in zip(events, here, strict=True) if at_home]
            hashes = [key for key, at_home in zip(hashes, here, strict=True) if at_home]
        if events:
            taken.batches.append(self._pack(Batch(organization, events, hashes)))
            taken.origins.append((kind, [record for _, record in owned]))

    def _all_at_once(
        self, kind: str, organization: UUID, records: Sequence[Any], now: dt.datetime
    ) -> list[Event] | None:
        """The events of the records, in their order; None where one of them must be looked at by itself."""
        if any(record.value is None or record.key is None for record in records):
            return None
        body = b"[" + b",".join([record.value for record in records]) + b"]"
        try:
            decoded = decode(body, _JSON, now=now, limits=self._limits)
        except Exception:
            # Whichever record it is and whatever its fault: it shows when each is looked at by itself.
            return None
        events = decoded.events
        if decoded.rejected or len(events) != len(records):
            return None
        shape = KINDS[kind]
        if not all(type(event) is shape for event in events):
            return None
        # Key by key: of two that are joined, one may be a byte short and the other a byte long.
        matching = keys(organization, kind, events) == [record.key for record in records]
        return events if matching else None

    def _one_by_one(
        self, kind: str, organization: UUID, owned: list[tuple[int, Any]], now: dt.datetime, taken: Taken
    ) -> tuple[list[tuple[int, Any]], list[Event]]:
        """The records that hold a good event, and these; the others are dead letters."""
        good: list[tuple[int, Any]] = []
        events: list[Event] = []
        for place, record in owned:
            found = self._one(kind, organization, record, now)
            if isinstance(found, Event):
                good.append((place, record))
                events.append(found)
            else:
                taken.dead.append(_dead(kind, place, record, found))
        return good, events

    def _one(self, kind: str, organization: UUID, record: Any, now: dt.datetime) -> Event | str:
        """The event of one record, or why it cannot be counted."""
        value = record.value
        if value is None:
            return "event: the record has no value"
        if value.lstrip()[:1] != b"{":
            return "event: expected one CloudEvent in JSON"
        try:
            decoded = decode(value, _JSON, now=now, limits=self._limits)
        except MalformedBody as error:
            return str(error)
        except Exception as error:
            # A defect of ours; a record that no worker gets past would be worse than one that is put away and told of.
            log.exception("record_not_read", kind=kind, partition=record.partition, offset=record.offset)
            return f"event: could not be read: {type(error).__name__}"
        if decoded.rejected:
            return decoded.rejected[0].error
        event = decoded.events[0]
        if event.kind != kind:
            return f"type: expected {kind}, as the topic's name says"
        if record.key == keys(organization, kind, [event])[0]:
            return event
        return self._refuse(organization, event) or event


def _why_nobody(record: Any, header: bytes | None) -> str:
    names = [name for name, _ in record.headers]
    if ORGANIZATION not in names:
        return f"{ORGANIZATION}: the header is missing"
    if header is None:
        return f"{ORGANIZATION}: the header stands more than once"
    if parse_organization(header) is None:
        return f"{ORGANIZATION}: the header is no id"
    return f"{ORGANIZATION}: is not known"


def _dead(kind: str, partition: int, record: Any, reason: str) -> Dead:
    header = organization_header(record)
    shown = _plain(header.decode("utf-8", "replace"))[:64] if header is not None else None
    return Dead(DeadLetter(kind, partition, record.offset, shown, _plain(reason)[:500]), record)


def _plain(text: str) -> str:
    """Text that the database takes, whatever a record said."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def refused(kind: str, record: Any, reason: str) -> Dead:
    """The dead letter of a record whose event the database refused."""
    return _dead(kind, record.partition, record, reason)
