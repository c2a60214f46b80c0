"""A group of batches made ready for the sink: everything that needs no database, so that it can be done while another group commits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import polars as pl

from aggregators.engine import aggregate
from aggregators.frames import raw_frame, with_amounts
from aggregators.rollup import Rollup
from ingest.events import Event
from ingest.log import Batch
from storage.ledger import identities
from storage.rollup_write import RollupRows
from storage.sink_sql import raw_csv, used_names


@dataclass(frozen=True)
class Work:
    """The events of one kind in a group, as events, as raw rows and as the rollups' rows.

    `organizations` has one entry an event. `named` are the positions of the events known by their id, `hashes` their identities;
    `numbered` are the positions of those known by their sequence. `names` are the metric names in use, each with its organization
    and kind. `frame` has the raw rows, amounts as text; `csv` has them as COPY takes them, once they are written out for a batch.
    """

    kind: str
    organizations: list[UUID]
    events: list[Event]
    named: list[int]
    hashes: list[bytes]
    numbered: list[int]
    names: set[tuple[str, str, str]]
    frame: pl.DataFrame
    rows: list[RollupRows]
    batch: int | None = None
    csv: bytes = b""

    def written_out(self, batch: int) -> Work:
        """The same with its raw rows in CSV for a batch."""
        return self if self.batch == batch else replace(self, batch=batch, csv=raw_csv(self.frame, batch))

    def only(self, positions: list[int], rollups: Sequence[Rollup]) -> Work:
        """The same with the events at these positions alone."""
        if len(positions) == len(self.events):
            return self
        frame = self.frame[positions]
        return Work(
            self.kind,
            [self.organizations[p] for p in positions],
            [self.events[p] for p in positions],
            [],
            [],
            [],
            self.names,
            frame,
            roll_up(self.kind, frame, rollups),
        )


def prepare(batches: Sequence[Batch], rollups: Sequence[Rollup], batch: int | None = None) -> list[Work]:
    """The works of a group, one a kind, in the order of the kinds' names, as if none of the events had been counted before.

    Where the number of the batch is known, the raw rows are written out for it.
    """
    parts: dict[str, list[Batch]] = defaultdict(list)
    for each in batches:
        types: set[type[Event]] = set(map(type, each.events))
        for one in types:
            same = each.events if len(types) == 1 else [event for event in each.events if type(event) is one]
            parts[one.kind].append(Batch(each.organization, same))
    works = [_work(kind, parts[kind], rollups) for kind in sorted(parts)]
    return works if batch is None else [work.written_out(batch) for work in works]


def _work(kind: str, batches: Sequence[Batch], rollups: Sequence[Rollup]) -> Work:
    events = [event for batch in batches for event in batch.events]
    sequences = [event.sequence for event in events]
    named: list[int] = []
    numbered: list[int] = []
    if sequences.count(None) == len(events):
        named = list(range(len(events)))
        hashes = [item for batch in batches for item in identities(batch.organization, kind, batch.events)]
    else:
        for position, sequence in enumerate(sequences):
            (named if sequence is None else numbered).append(position)
        hashes = [
            item
            for batch in batches
            for item in identities(batch.organization, kind, [e for e in batch.events if e.sequence is None])
        ]
    organizations = [owner for batch in batches for owner in [batch.organization] * len(batch.events)]
    texts = [owner for batch in batches for owner in [str(batch.organization)] * len(batch.events)]
    frame = raw_frame(kind, texts, events)
    return Work(
        kind,
        organizations,
        events,
        named,
        hashes,
        numbered,
        used_names(kind, organizations, events),
        frame,
        roll_up(kind, frame, rollups),
    )


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
