"""The engine: the raw frame of a batch in, the rows of every grain of a rollup out."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from aggregators.frames import MONEY
from aggregators.rollup import LAST_PLACE, Measure, Rollup
from aggregators.sketch_columns import Integers, Sketches
from aggregators.sketches import bin_index, pack, register

_DTYPES: dict[str, Any] = {
    "bigint": pl.Int64,
    "double precision": pl.Float64,
    "numeric": MONEY,
}
_EMPTY_KEY = ""

_MONEY_CEILING = 4e19
"""Sums below this fit a 38-digit decimal with 18 of them behind the point, with room for a difference of two."""


def columns(rollup: Rollup, grain: str) -> list[str]:
    """The columns of a rollup's rows at one grain, in the order of its table."""
    place = list(LAST_PLACE) if rollup.has_last() else []
    return ["organization", "bucket", *rollup.keys, *(m.name for m in rollup.measures_at(grain)), *place]


def aggregate(rollup: Rollup, raw: pl.DataFrame) -> list[dict[str, pl.DataFrame]]:
    """Rolls up one raw frame: a list of parts, each with the rows of every grain, sorted by organization, bucket and keys.

    One part is the rule. Where amounts are so large that their sum could leave 38 digits, there are several, to be added by the
    database, whose numbers are wider.
    """
    parts = []
    concerned = raw if rollup.concerns is None else raw.filter(rollup.concerns)
    for piece in _pieces(concerned):
        # Within a group polars keeps the rows' order, so the last row is that of the greatest (time, source, id).
        rows = rollup.prepare(piece.sort("time", "source", "id") if rollup.has_last() else piece)
        if rows.height:
            parts.append(_grains(rollup, rows.with_columns(pl.col(*rollup.keys).fill_null(_EMPTY_KEY))))
    return parts


def _pieces(raw: pl.DataFrame) -> list[pl.DataFrame]:
    """Splits a frame so that the sums of each piece fit a 38-digit decimal."""
    amounts = [name for name, dtype in raw.schema.items() if dtype == MONEY]
    if not raw.height:
        return []
    if "metrics" in raw.columns and "team_type" in raw.columns:
        return list(raw.iter_slices(40)) if _huge_metrics(raw) else [raw]
    if not amounts:
        return [raw]
    largest = max(float(raw[name].abs().max() or 0) for name in amounts)  # type: ignore[arg-type]
    if largest * raw.height < _MONEY_CEILING:
        return [raw]
    return list(raw.iter_slices(max(1, int(_MONEY_CEILING / largest))))


def _huge_metrics(raw: pl.DataFrame) -> bool:
    """Whether an enterprise metric has more than 12 integer digits, which is rare enough to be told from the text alone."""
    return bool(raw["metrics"].str.contains(r"[0-9]{13}").any())


def _grains(rollup: Rollup, rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Aggregates the finest grain from the rows and every coarser one from the finer."""
    result: dict[str, pl.DataFrame] = {}
    keys = ["organization", "bucket", *rollup.keys]
    place = list(LAST_PLACE) if rollup.has_last() else []
    sketches = {m.name: Sketches.of(_pairs(m, rows), m.merge) for m in rollup.measures if m.merge in _SKETCHES}
    frame = rows.with_columns(pl.col("time").alias("bucket"))
    for grain in rollup.grains:
        plain = [m for m in rollup.measures_at(grain) if m.merge not in _SKETCHES]
        members = [pl.int_range(pl.len()).alias(_MEMBERS)] if sketches else []
        frame = frame.with_columns(pl.col("bucket").dt.truncate(grain), *members)
        if result:
            frame = frame.sort(place) if place else frame
            figures = [*(_again(m) for m in plain), *(pl.col(column).last() for column in place)]
        else:
            last = [pl.col(column.removeprefix("last_")).last().alias(column) for column in place]
            figures = [*(_first(m) for m in plain), *last]
        frame = frame.group_by(keys).agg(*figures, *(pl.col(_MEMBERS) for _ in members)).sort(keys)
        if sketches:
            owners = _owners(frame[_MEMBERS])
            sketches = {name: sketch.moved(owners) for name, sketch in sketches.items()}
            frame = frame.drop(_MEMBERS)
        wanted = [m.name for m in rollup.measures_at(grain) if m.merge in _SKETCHES]
        sketches |= {name: sketches[name].merged() for name in wanted}
        stored = frame.with_columns(sketches[name].column(frame.height).alias(name) for name in wanted)
        result[grain] = stored.select(columns(rollup, grain))
    return result


_SKETCHES = ("bins", "registers")
_MEMBERS = "rows of the finer frame"


def _owners(members: pl.Series) -> Integers:
    """For each row of the finer frame the row of the coarser one that it went into."""
    rows = members.explode().to_numpy()
    owners = np.empty(len(rows), dtype=np.int64)
    owners[rows] = np.repeat(np.arange(len(members)), members.list.len().to_numpy())
    return owners


def _first(measure: Measure) -> pl.Expr:
    """The measure over rows."""
    value = measure.value.last() if measure.merge == "last" else measure.value
    return value.cast(_DTYPES[measure.pg_type]).alias(measure.name)


def _again(measure: Measure) -> pl.Expr:
    """The measure over rows of a finer grain."""
    column = pl.col(measure.name)
    return {"add": column.sum(), "min": column.min(), "max": column.max(), "last": column.last()}[measure.merge]


def _pairs(measure: Measure, rows: pl.DataFrame) -> pl.Series:
    """The packed pair of each row; null where the value is."""
    if measure.merge == "bins":
        weight = pl.lit(1) if measure.weight is None else measure.weight
        return rows.select(pack(bin_index(measure.value.cast(pl.Float64)), weight)).to_series()
    items = rows.select(measure.value.alias("item"))
    different = items["item"].drop_nulls().unique()
    packed = pl.Series([register(item) for item in different], dtype=pl.Int64)
    known = pl.DataFrame({"item": different, "packed": packed})
    return items.join(known, on="item", how="left", maintain_order="left")["packed"]
