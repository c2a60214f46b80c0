"""Merges a batch's sketches with the stored ones: read, merged with numpy and written whole.

PostgreSQL would need a query a row to merge two sketches. The sink is the only writer of its kind of event while it holds the kind's
lock, so nothing can change between the read and the write, and hundreds of sketches are merged in a few passes over one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from psycopg.sql import SQL, Composed, Identifier

from aggregators.rollup import Measure, Rollup
from aggregators.sketch_bytes import read_sketches, write_sketches
from aggregators.sketch_columns import Sketches


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
        sketches=SQL(", ").join(SQL("t.{}").format(Identifier(m.name)) for m in measures),
        wires=SQL(", ").join(SQL(f"%s::{types.get(key, 'text')}[]") for key in keys),
        keys=SQL(", ").join(Identifier(key) for key in keys),
        table=table,
        on=SQL(" and ").join(SQL("t.{k} = w.{k}").format(k=Identifier(key)) for key in keys),
    )


def merged(measure: Measure, fresh: pl.Series, stored: Sequence[tuple[int, bytes | None]]) -> WrittenSketches:
    """The sketches of a batch's rows merged with those stored; `stored` has places in `fresh` from 1."""
    found = [(place - 1, written) for place, written in stored if written is not None]
    before = read_sketches([written for _, written in found], measure.merge)
    before = before.moved(np.array([row for row, _ in found], dtype=np.int64))
    sketches = Sketches.of_lists(fresh, measure.merge).plus(before).merged()
    written, ends = write_sketches(sketches, len(fresh))
    sizes = np.diff(ends, prepend=0)
    return WrittenSketches(written, pl.Series(ends - sizes + 1), pl.Series(sizes))


@dataclass(frozen=True)
class WrittenSketches:
    """The sketches of many rows one behind the other: a row has `size` bytes from place `first` on, which counts from 1, as SQL does."""

    written: bytes
    first: pl.Series
    size: pl.Series
