"""Which measures of a rollup hold all events: what was declared after events came is filled, and not answered until it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from aggregators.rollup import Measure, Rollup
from storage.database import AsyncConn, Conn, StorageUnavailable

Gaps = Mapping[str, Sequence[str]]
"""Names of measures by grain."""


class NotFilled(StorageUnavailable):
    """A figure is asked for that does not hold all events yet; it will, and the message says how far it is."""


@dataclass(frozen=True)
class Held:
    """What a database holds of a rollup: as what it was declared, the measures' fingerprints by grain, and what is not filled."""

    declaration: str
    measures: Mapping[str, Mapping[str, str]]
    unfilled: Gaps


def _fingerprints(rollup: Rollup) -> dict[str, dict[str, str]]:
    """By grain and name: what the stored values of a measure depend on."""
    return {grain: {m.name: _fingerprint(rollup, m) for m in rollup.measures_at(grain)} for grain in rollup.grains}


def _fingerprint(rollup: Rollup, measure: Measure) -> str:
    sketched = measure.merge in ("bins", "registers")  # how a sketch is written down does not change what is in it
    text = repr((rollup.event, rollup.keys, measure.merge, "" if sketched else measure.pg_type, measure.meaning))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def held(connection: Conn, rollup: Rollup, declaration: str) -> Held | None:
    """What the database holds of a rollup that is declared so now; None where it has none of that name."""
    row = connection.execute(
        "select declaration, filled, measures, unfilled from store.rollup where name = %s", (rollup.name,)
    ).fetchone()
    if row is None:
        return None
    before, filled, measures, gaps = row
    if not measures:
        # Written by a version that knew of whole rollups only: unless nothing changed since, nothing is known of their measures.
        return Held("", _fingerprints(rollup) if filled and before == declaration else {}, {})
    return Held(before, measures, gaps)


def to_be_filled(rollup: Rollup, found: Held | None) -> dict[str, list[str]]:
    """The measures that a declaration adds to what is held or means otherwise, and those that were not filled before."""
    measures: Mapping[str, Mapping[str, str]] = found.measures if found else {}
    before: Gaps = found.unfilled if found else {}
    gaps = {
        grain: [
            name
            for name, fingerprint in of_grain.items()
            if measures.get(grain, {}).get(name) != fingerprint or name in before.get(grain, ())
        ]
        for grain, of_grain in _fingerprints(rollup).items()
    }
    return {grain: names for grain, names in gaps.items() if names}


def remember(connection: Conn, rollup: Rollup, declaration: str, gaps: Gaps) -> None:
    """Writes down what the database holds now. A filling that was under way begins anew."""
    connection.execute(
        "insert into store.rollup as r (name, declaration, filled, measures, unfilled) values (%s, %s, %s, %s, %s)"
        " on conflict (name) do update set declaration = excluded.declaration, filled = excluded.filled,"
        " measures = excluded.measures, unfilled = excluded.unfilled, filled_to = null, days_done = 0, days = 0",
        (rollup.name, declaration, not gaps, Jsonb(_fingerprints(rollup)), Jsonb(gaps)),
    )


def mark_filled(connection: Conn, name: str, declaration: str) -> None:
    """All measures of a rollup hold all events, if it is still declared so."""
    connection.execute(
        "update store.rollup set filled = true, unfilled = '{}', filled_to = null, days_done = 0, days = 0"
        " where name = %s and declaration = %s",
        (name, declaration),
    )


@dataclass(frozen=True)
class Unfilled:
    """What a rollup cannot answer yet, and how far its filling is."""

    rollup: str
    gaps: Gaps
    days_done: int
    days: int

    def answering(self, grains: Sequence[str], measures: Sequence[str]) -> list[str]:
        """Those of the grains at which these measures hold all events. Raises NotFilled where there is none."""
        found = [grain for grain in grains if not set(measures) & set(self.gaps.get(grain, ()))]
        if grains and not found:
            missing = sorted({name for grain in grains for name in self.gaps.get(grain, ()) if name in measures})
            raise NotFilled(
                f"{self.rollup}: {', '.join(missing)} is being filled from the events that came before it was declared:"
                f" {self.days_done} of {self.days or 'all'} days are done"
            )
        return found


async def unfilled(connection: AsyncConn, rollup: str) -> Unfilled | None:
    """What a rollup cannot answer yet, in the reader's snapshot; None where it answers everything."""
    cursor = await connection.execute("select unfilled, days_done, days from app.unfilled(%s)", (rollup,))
    row = await cursor.fetchone()
    return Unfilled(rollup, *row) if row is not None else None


async def require(connection: AsyncConn, rollup: str, grain: str, *measures: str) -> None:
    """Raises NotFilled where these measures do not hold all events at the grain; for reads that are not composed."""
    gaps = await unfilled(connection, rollup)
    if gaps is not None:
        gaps.answering([grain], measures)
