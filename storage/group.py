"""Batches made ready for the sink: everything that needs no database, so that it can be done while another group commits.

A batch is packed by itself, into columns, as soon as it is decoded: its events are still in the processor's caches then, and
their columns are a tenth of their size. A group of packed batches is what one transaction writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl

from aggregators.engine import aggregate
from aggregators.frames import raw_frame, spans, with_amounts
from aggregators.rollup import Rollup
from ingest.events import Event
from ingest.identity import identities
from ingest.log import Batch, Position
from ingest.partitions import home_partitions
from storage.ledger import Identities, LedgerName
from storage.rollup_write import RollupRows
from storage.sink_sql import raw_csv


@dataclass(frozen=True)
class Part:
    """The events of one kind in a batch, by the column.

    `frame` has the raw rows, amounts as text; `positions` their places in the batch; `hashes` the identities of those rows that
    have no sequence, in order; `names` the metric names in use.
    """

    kind: str
    frame: pl.DataFrame
    positions: Sequence[int]
    hashes: list[bytes]
    names: set[str]

    def only(self, places: dict[int, int]) -> Part:
        """The same with the events alone whose position is a key, which gets the value as its position."""
        rows = [row for row, position in enumerate(self.positions) if position in places]
        frame = self.frame[rows]
        named = self.frame["sequence"].is_null()
        of_row = dict(zip(named.arg_true().to_list(), self.hashes, strict=True))
        hashes = [of_row[row] for row in rows if row in of_row]
        return replace(self, frame=frame, positions=[places[self.positions[row]] for row in rows], hashes=hashes)


@dataclass(frozen=True)
class PackedBatch:
    """A batch by the column: `size` events of one organization, a part a kind."""

    organization: UUID
    size: int
    parts: list[Part]

    def only(self, positions: Sequence[int]) -> PackedBatch:
        """The events at these positions alone, in their order."""
        places = {position: place for place, position in enumerate(positions)}
        parts = [part.only(places) for part in self.parts]
        return PackedBatch(self.organization, len(positions), [part for part in parts if part.frame.height])

    def sequences(self) -> list[int]:
        """The sequence of each event; 0 for one without."""
        found = [0] * self.size
        for part in self.parts:
            for position, sequence in zip(part.positions, part.frame["sequence"].fill_null(0).to_list(), strict=True):
                found[position] = sequence
        return found


def pack_batch(batch: Batch) -> PackedBatch:
    """Takes the events of a batch apart into columns."""
    types: set[type[Event]] = set(map(type, batch.events))
    parts: list[Part] = []
    for one in sorted(types, key=lambda one: one.kind):
        of_kind, positions = batch, range(len(batch.events))
        if len(types) > 1:
            positions = [position for position, event in enumerate(batch.events) if type(event) is one]  # type: ignore[assignment]
            keys = None if batch.keys is None else [batch.keys[position] for position in positions]
            of_kind = Batch(batch.organization, [batch.events[position] for position in positions], keys)
        parts.append(_part(one.kind, of_kind, positions))
    return PackedBatch(batch.organization, len(batch.events), parts)


def _part(kind: str, batch: Batch, positions: Sequence[int]) -> Part:
    events = batch.events
    frame = raw_frame(kind, [str(batch.organization)] * len(events), events)
    numbered = frame.height - frame["sequence"].null_count()
    if batch.keys is not None:
        # An event without a sequence has its identity as its key.
        hashes = [key for key, event in zip(batch.keys, events, strict=True) if event.sequence is None]
    else:
        named = [event for event in events if event.sequence is None] if numbered else events
        hashes = identities(batch.organization, kind, named)
    names: set[str] = set()
    if kind in ("system", "enterprise"):
        names = set().union(*(event.data.metrics for event in events))
    return Part(kind, frame, positions, hashes, names)


@dataclass(frozen=True)
class Work:
    """The events of one kind in a group, as raw rows and as the rollups' rows.

    `frame` has the raw rows, amounts as text; `csv` has them as COPY takes them, once they are written out for a batch.
    `identities` are those of the rows without a sequence, by the ledger that knows them; `numbered` says whether there are rows
    with one. `spans` are what `frames.spans` says of the frame. `names` are the metric names in use, each with its organization
    and kind.
    """

    kind: str
    frame: pl.DataFrame
    identities: list[Identities]
    numbered: bool
    spans: list[tuple[Any, ...]]
    names: set[tuple[str, str, str]]
    rows: list[RollupRows]
    batch: int | None = None
    csv: bytes = b""

    def written_out(self, batch: int) -> Work:
        """The same with its raw rows in CSV for a batch."""
        return self if self.batch == batch else replace(self, batch=batch, csv=raw_csv(self.frame, batch))

    def only(self, keep: pl.Series, rollups: Sequence[Rollup]) -> Work:
        """The same with the rows alone for which `keep` is true; without identities, which are dealt with by then."""
        if keep.all():
            return self
        frame = self.frame.filter(keep)
        return replace(
            self,
            frame=frame,
            identities=[],
            spans=spans(frame),
            rows=roll_up(self.kind, frame, rollups),
            batch=None,
            csv=b"",
        )


def prepare(
    group: Sequence[Batch | PackedBatch],
    rollups: Sequence[Rollup],
    batch: int | None = None,
    positions: Sequence[Position] = (),
) -> list[Work]:
    """The works of a group, one a kind, in the order of the kinds' names, as if none of the events had been counted before.

    Batches that are not packed, the small ones, are packed together. Where the number of the batch is known, the raw rows are
    written out for it. `positions` are of the partitions that the events came from, if they did; raises ValueError where an
    event without a sequence belongs to one that is not among them.
    """
    small: dict[UUID, list[Batch]] = defaultdict(list)
    for one in group:
        if isinstance(one, Batch):
            small[one.organization].append(one)
    parts: dict[str, list[tuple[UUID, Part]]] = defaultdict(list)
    for packed in (
        *(one for one in group if isinstance(one, PackedBatch)),
        *(pack_batch(_joined(batches)) for batches in small.values()),
    ):
        for part in packed.parts:
            parts[part.kind].append((packed.organization, part))
    works = [_work(kind, parts[kind], rollups, positions) for kind in sorted(parts)]
    return works if batch is None else [work.written_out(batch) for work in works]


def _joined(batches: Sequence[Batch]) -> Batch:
    """Batches of one organization as one."""
    events = [event for batch in batches for event in batch.events]
    keys = [key for batch in batches for key in batch.keys or ()]
    return Batch(batches[0].organization, events, keys if len(keys) == len(events) else None)


def _work(
    kind: str, parts: Sequence[tuple[UUID, Part]], rollups: Sequence[Rollup], positions: Sequence[Position]
) -> Work:
    frame = pl.concat([part.frame for _, part in parts], rechunk=True)
    hashes = [item for _, part in parts for item in part.hashes]
    names = {(str(organization), kind, name) for organization, part in parts for name in part.names}
    known_by = _by_ledger(kind, hashes, positions)
    return Work(kind, frame, known_by, len(hashes) < frame.height, spans(frame), names, roll_up(kind, frame, rollups))


def _by_ledger(kind: str, hashes: list[bytes], positions: Sequence[Position]) -> list[Identities]:
    """Identities by the ledger that knows them: that of the kind, or those of the partitions that the events came from."""
    if not hashes:
        return []
    held = {position.partition: position for position in positions if position.kind == kind}
    if not held:
        return [Identities.of(LedgerName(kind), np.arange(len(hashes)), hashes)]
    count = next(iter(held.values())).partitions
    homes = home_partitions(b"".join(hashes), count)
    found = []
    for partition in sorted(set(homes.tolist())):
        if partition not in held:
            raise ValueError(f"an event of {kind}/{partition} is written without its position")
        rows = (homes == partition).nonzero()[0]
        found.append(Identities.of(LedgerName(kind, partition, count), rows, [hashes[row] for row in rows.tolist()]))
    return found


def roll_up(kind: str, frame: pl.DataFrame, rollups: Sequence[Rollup]) -> list[RollupRows]:
    """The rows of every rollup of a kind, in the order in which they are written.

    A rollup comes several times where its amounts are too large for one sum.
    """
    numbers = with_amounts(kind, frame)
    return [
        RollupRows.of(rollup, grain, rows)
        for rollup in sorted(rollups, key=lambda rollup: rollup.name)
        if rollup.event == kind
        for part in aggregate(rollup, numbers)
        for grain, rows in part.items()
    ]
