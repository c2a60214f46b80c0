"""Merges a batch's sketches with the stored ones: read, merged with numpy and written whole.

PostgreSQL can merge two sketches itself (`store.bins_merge`, as `rollup_sql.upsert` does for the recomputation), but its price is
a query a row. The sink is the only writer of its kind of event while it holds the kind's lock, so nothing can change between the
read and the write, and hundreds of sketches are merged in a few passes over one array.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from psycopg.sql import SQL, Composed, Identifier

from aggregators.rollup import Measure, Rollup
from aggregators.sketch_columns import Integers, Sketches
from storage.arrays import SENT_HEADER, elements


def stored_sketches(rollup: Rollup, measures: Sequence[Measure], table: Identifier) -> Composed:
    """The query of the stored sketches of given rows, which it takes as an array a key: the row's place from 1, then the sketches.

    Behind the arrays it takes the first and the last bucket among them, which say in advance which chunks of a hypertable to look in.
    """
    keys = ["organization", "bucket", *rollup.keys]
    types = {"organization": "uuid", "bucket": "timestamptz"}
    return SQL(
        "select w.place, {sketches} from unnest({wires}) with ordinality as w ({keys}, place) join {table} as t on {on}"
        " where t.bucket >= %s and t.bucket <= %s order by w.place"
    ).format(
        sketches=SQL(", ").join(SQL("array_send(t.{})").format(Identifier(m.name)) for m in measures),
        wires=SQL(", ").join(SQL(f"%s::{types.get(key, 'text')}[]") for key in keys),
        keys=SQL(", ").join(Identifier(key) for key in keys),
        table=table,
        on=SQL(" and ").join(SQL("t.{k} = w.{k}").format(k=Identifier(key)) for key in keys),
    )


def merged(measure: Measure, fresh: pl.Series, stored: Sequence[tuple[int, bytes | None]]) -> FlatSketches:
    """The sketches of a batch's rows merged with those stored; `stored` has places in `fresh` from 1."""
    found = [(place - 1, sent[SENT_HEADER:]) for place, sent in stored if sent is not None]
    pairs, counts = elements([sent for _, sent in found])
    rows = np.repeat(np.array([row for row, _ in found], dtype=np.int64), counts)
    sketches = Sketches.of_lists(fresh, measure.merge).plus(rows, pairs).merged()
    return FlatSketches(sketches.pairs, sketches.ends(len(fresh)))


class FlatSketches:
    """The sketches of many rows one behind the other: a row has `pairs[first:last]`, counted from 1, as SQL does."""

    def __init__(self, pairs: Integers, ends: Integers) -> None:
        self.pairs = pairs
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]])
        # A row without a sketch has no first place, and a slice from nowhere is null.
        self.first = pl.Series(starts + 1, dtype=pl.Int64).set(pl.Series(starts == ends), None)
        self.last = pl.Series(ends, dtype=pl.Int64)
