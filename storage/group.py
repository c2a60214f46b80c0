"""A group of batches made ready for the sink: everything that needs no database, so that it can be done while another group commits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import polars as pl

from aggregators.engine import aggregate
from aggregators.frames import raw_frame
from aggregators.rollup import Rollup
from ingest.events import Event
from ingest.identity import identities
from ingest.log import Batch

Grains = dict[str, pl.DataFrame]
"""The rows of every grain of a rollup."""


@dataclass
class Work:
    """The events of one kind in a group, as events, as raw rows and as the rollups' rows.

    `organizations` has one entry an event. `named` are the positions of the events known by their id, `hashes` their identities;
    `numbered` are the positions of those known by their sequence.
    """

    kind: str
    organizations: list[UUID]
    events: list[Event]
    named: list[int]
    hashes: list[bytes]
    numbered: list[int]
    frame: pl.DataFrame
    rows: list[tuple[Rollup, Grains]]

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
            frame,
            roll_up(self.kind, frame, rollups),
        )


def prepare(batches: Sequence[Batch], rollups: Sequence[Rollup]) -> list[Work]:
    """The works of a group, one a kind, in the order of the kinds' names, as if none of the events had been counted before."""
    organizations: dict[str, list[UUID]] = defaultdict(list)
    events: dict[str, list[Event]] = defaultdict(list)
    for batch in batches:
        for kind in {type(event).kind for event in batch.events}:
            same = [event for event in batch.events if event.kind == kind]
            events[kind] += same
            organizations[kind] += [batch.organization] * len(same)
    return [_work(kind, organizations[kind], events[kind], rollups) for kind in sorted(events)]


def _work(kind: str, organizations: list[UUID], events: list[Event], rollups: Sequence[Rollup]) -> Work:
    named = [position for position, event in enumerate(events) if event.sequence is None]
    numbered = [position for position, event in enumerate(events) if event.sequence is not None]
    frame = raw_frame(kind, _texts(organizations), events)
    return Work(
        kind,
        organizations,
        events,
        named,
        identities(kind, [(organizations[p], events[p]) for p in named]),
        numbered,
        frame,
        roll_up(kind, frame, rollups),
    )


def _texts(organizations: list[UUID]) -> list[str]:
    """The organizations as text; neighbours are nearly always the same one, whose text is made once."""
    texts: list[str] = []
    last: UUID | None = None
    text = ""
    for organization in organizations:
        if organization is not last:
            last, text = organization, str(organization)
        texts.append(text)
    return texts


def roll_up(kind: str, frame: pl.DataFrame, rollups: Sequence[Rollup]) -> list[tuple[Rollup, Grains]]:
    """The rows of every rollup of a kind. A rollup comes several times where its amounts are too large for one sum."""
    return [(rollup, part) for rollup in rollups if rollup.event == kind for part in aggregate(rollup, frame)]
