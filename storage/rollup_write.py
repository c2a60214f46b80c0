"""Adds the rows of a batch to the rollups' tables, in the sink's transaction."""

from __future__ import annotations

import polars as pl
from psycopg.sql import Composed, Identifier

from aggregators.engine import columns
from aggregators.rollup import Measure, Rollup
from storage import rollup_sql
from storage.arrays import Wire, array
from storage.database import Conn
from storage.sketch_merge import merged, stored_sketches


class RollupWriter:
    """Upserts rows of one rollup at one grain. Its statements are composed once, so that the connection keeps them prepared.

    Whoever uses it must be the only writer of the rollup's kind of event until the transaction ends: see `sketch_merge`. `into` is
    another table of the same shape.
    """

    def __init__(self, connection: Conn, rollup: Rollup, grain: str, into: Identifier | None = None) -> None:
        table = into or rollup_sql.table(rollup, grain)
        self._sketches: list[Measure] = [m for m in rollup.measures_at(grain) if m.merge in ("bins", "registers")]
        self._keys = ["organization", "bucket", *rollup.keys]
        self._columns = columns(rollup, grain)
        self._upsert = _text(connection, rollup_sql.upsert(rollup, grain, table))
        self._stored = _text(connection, stored_sketches(rollup, self._sketches, table)) if self._sketches else b""

    def add(self, connection: Conn, rows: pl.DataFrame) -> None:
        """Merges the rows (see `engine.aggregate`) into the table."""
        keys = {name: array(rows[name]) for name in self._keys}
        written: list[Wire | bytes] = []
        places: dict[str, list[Wire]] = {}
        if self._sketches:
            stored = connection.execute(self._stored, list(keys.values()), binary=True).fetchall()
            for number, measure in enumerate(self._sketches, start=1):
                sketches = merged(measure, rows[measure.name], [(row[0], row[number]) for row in stored])
                written.append(sketches.written)
                places[measure.name] = [array(sketches.first), array(sketches.size)]
        wires = [
            wire
            for name in self._columns
            for wire in places.get(name) or [keys[name] if name in keys else array(rows[name])]
        ]
        connection.execute(self._upsert, written + wires)


def _text(connection: Conn, statement: Composed) -> bytes:
    return statement.as_bytes(connection)
