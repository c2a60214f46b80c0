"""Adds the rows of a batch to the rollups' tables, in the sink's transaction."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import polars as pl
from psycopg.sql import Composed, Identifier

from aggregators.engine import columns
from aggregators.rollup import Measure, Rollup
from storage import rollup_sql
from storage.arrays import Wire, array
from storage.database import Conn
from storage.sketch_merge import merged, stored_sketches


@dataclass(frozen=True)
class RollupRows:
    """Rows of a rollup at one grain (see `engine.aggregate`), ready to be sent: `wires` has each column as a parameter.

    A sketch is no parameter before it is merged with the stored one: `sketches` has those columns. `first` and `last` are the
    bounds of the buckets.
    """

    rollup: Rollup
    grain: str
    wires: dict[str, Wire]
    sketches: dict[str, pl.Series]
    first: dt.datetime
    last: dt.datetime

    @classmethod
    def of(cls, rollup: Rollup, grain: str, rows: pl.DataFrame) -> RollupRows:
        """Does what needs no database."""
        sketches = {measure.name: rows[measure.name] for measure in _sketches(rollup, grain)}
        wires = {name: array(rows[name]) for name in columns(rollup, grain) if name not in sketches}
        first, last = rows.select(pl.col("bucket").min(), pl.col("bucket").max().alias("last")).row(0)
        return cls(rollup, grain, wires, sketches, first, last)


class RollupWriter:
    """Upserts rows of one rollup at one grain. Its statements are composed once, so that the connection keeps them prepared.

    Whoever uses it must be the only writer of the rollup's kind of event until the transaction ends: see `sketch_merge`. `into` is
    another table of the same shape.
    """

    def __init__(self, connection: Conn, rollup: Rollup, grain: str, into: Identifier | None = None) -> None:
        table = into or rollup_sql.table(rollup, grain)
        self._sketches = _sketches(rollup, grain)
        self._keys = ["organization", "bucket", *rollup.keys]
        self._columns = columns(rollup, grain)
        self._upsert = _text(connection, rollup_sql.upsert(rollup, grain, table))
        self._stored = _text(connection, stored_sketches(rollup, self._sketches, table)) if self._sketches else b""

    def add(self, connection: Conn, rows: RollupRows) -> None:
        """Merges the rows into the table."""
        written: list[Wire | bytes] = []
        places: dict[str, list[Wire]] = {}
        if self._sketches:
            keys = [rows.wires[name] for name in self._keys]
            stored = connection.execute(self._stored, [*keys, rows.first, rows.last], binary=True).fetchall()
            for number, measure in enumerate(self._sketches, start=1):
                sketches = merged(measure, rows.sketches[measure.name], [(row[0], row[number]) for row in stored])
                written.append(sketches.written)
                places[measure.name] = [array(sketches.first), array(sketches.size)]
        wires = [wire for name in self._columns for wire in places.get(name) or [rows.wires[name]]]
        connection.execute(self._upsert, written + wires)


def _sketches(rollup: Rollup, grain: str) -> list[Measure]:
    return [measure for measure in rollup.measures_at(grain) if measure.merge in ("bins", "registers")]


def _text(connection: Conn, statement: Composed) -> bytes:
    return statement.as_bytes(connection)
