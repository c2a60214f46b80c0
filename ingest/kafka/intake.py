"""Intake: the records of a poll become batches for the sink, records that lie in the wrong partition, and dead letters."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, cast
from uuid import UUID

import structlog

from ingest.events import KINDS, Event
from ingest.events.bodies import MalformedBody
from ingest.events.decode import Limits, decode
from ingest.identity import keys
from ingest.kafka.columns import Columns, Headers, organization_header
from ingest.kafka.records import ORGANIZATION
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
        found: Mapping[tuple[str, bytes | None], Columns],
        partitions: Mapping[str, int],
        organizations: Mapping[bytes, UUID],
        now: dt.datetime,
    ) -> Taken:
        """Sorts the records of a poll, see `by_organization`. `organizations` are those that exist, by header.

        Blocking: for a thread.
        """
        taken = Taken()
        for (kind, header), columns in found.items():
            if header is None or header not in organizations:
                taken.dead += [_dead(kind, one, _why_nobody(one.headers, header)) for one in columns.records]
                continue
            for at in range(0, len(columns), _TOGETHER):
                self._decode(kind, organizations[header], columns.some(at, _TOGETHER), partitions[kind], now, taken)
        return taken

    def _decode(
        self, kind: str, organization: UUID, columns: Columns, partitions: int, now: dt.datetime, taken: Taken
    ) -> None:
        events = self._all_at_once(kind, organization, columns, now)
        hashes = cast("list[bytes]", columns.keys)
        if events is None:
            columns, events = self._one_by_one(kind, organization, columns, now, taken)
            hashes = keys(organization, kind, events)
        if not events:
            return
        homes = home_partitions(b"".join(hashes), partitions).tolist()
        if homes != columns.places:
            here = [home == place for home, place in zip(homes, columns.places, strict=True)]
            for home, at_home, key, record in zip(homes, here, hashes, columns.records, strict=True):
                if not at_home:
                    taken.strays.append(Stray(kind, home, key, record))
            columns, events, hashes = columns.only(here), list(compress(events, here)), list(compress(hashes, here))
        if events:
            taken.batches.append(self._pack(Batch(organization, events, hashes)))
            taken.origins.append((kind, columns.records))

    def _all_at_once(self, kind: str, organization: UUID, columns: Columns, now: dt.datetime) -> list[Event] | None:
        """The events of the records, in their order; None where one of them must be looked at by itself."""
        if None in columns.values:
            return None
        body = b"[" + b",".join(cast("list[bytes]", columns.values)) + b"]"
        try:
            decoded = decode(body, _JSON, now=now, limits=self._limits)
        except Exception:
            # Whichever record it is and whatever its fault: it shows when each is looked at by itself.
            return None
        events = decoded.events
        if decoded.rejected or len(events) != len(columns):
            return None
        if set(map(type, events)) != {KINDS[kind]}:
            return None
        # Key by key: of two that are joined, one may be a byte short and the other a byte long.
        return events if keys(organization, kind, events) == columns.keys else None

    def _one_by_one(
        self, kind: str, organization: UUID, columns: Columns, now: dt.datetime, taken: Taken
    ) -> tuple[Columns, list[Event]]:
        """The records that hold a good event, and these; the others are dead letters."""
        good: list[bool] = []
        events: list[Event] = []
        for record in columns.records:
            found = self._one(kind, organization, record, now)
            good.append(isinstance(found, Event))
            if isinstance(found, Event):
                events.append(found)
            else:
                taken.dead.append(_dead(kind, record, found))
        return columns.only(good), events

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


def _why_nobody(headers: Headers, header: bytes | None) -> str:
    names = [name for name, _ in headers]
    if ORGANIZATION not in names:
        return f"{ORGANIZATION}: the header is missing"
    if header is None:
        return f"{ORGANIZATION}: the header stands more than once"
    if parse_organization(header) is None:
        return f"{ORGANIZATION}: the header is no id"
    return f"{ORGANIZATION}: is not known"


def _dead(kind: str, record: Any, reason: str) -> Dead:
    header = organization_header(record.headers)
    shown = _plain(header.decode("utf-8", "replace"))[:64] if header is not None else None
    return Dead(DeadLetter(kind, record.partition, record.offset, shown, _plain(reason)[:500]), record)


def _plain(text: str) -> str:
    """Text that the database takes, whatever a record said."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def refused(kind: str, record: Any, reason: str) -> Dead:
    """The dead letter of a record whose event the database refused."""
    return _dead(kind, record, reason)
