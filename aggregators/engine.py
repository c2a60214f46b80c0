"""The engine: the raw frame of a batch in, the rows of every grain of a rollup out."""

from __future__ import annotations

import polars as pl

from aggregators.frames import MONEY
from aggregators.rollup import LAST_PLACE, Measure, Rollup
from aggregators.sketches import SHIFT, bin_index, pack, register

_DTYPES = {"bigint": pl.Int64, "double precision": pl.Float64, "numeric": MONEY, "bigint[]": pl.List(pl.Int64)}
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
    for piece in _pieces(raw):
        # Within a group polars keeps the rows' order, so the last row is that of the greatest (time, source, id).
        rows = rollup.prepare(piece.sort("time", "source", "id"))
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
    finer: pl.DataFrame | None = None
    cells: dict[str, pl.DataFrame] = {}
    for grain in rollup.grains:
        keys = ["organization", "bucket", *rollup.keys]
        bucket = grain
        plain = [m for m in rollup.measures_at(grain) if m.merge not in ("bins", "registers")]
        place = list(LAST_PLACE) if rollup.has_last() else []
        if finer is None:
            rows = rows.with_columns(pl.col("time").dt.truncate(bucket).alias("bucket"))
            finer = rows.group_by(keys).agg(
                *(_first(m) for m in plain),
                *(pl.col(column.removeprefix("last_")).last().alias(column) for column in place),
            )
        else:
            finer = (
                finer.with_columns(pl.col("bucket").dt.truncate(bucket))
                .sort(place or "bucket")
                .group_by(keys)
                .agg(*(_again(m) for m in plain), *(pl.col(column).last() for column in place))
            )
        frame = finer
        for measure in rollup.measures_at(grain):
            if measure.merge in ("bins", "registers"):
                source = cells.get(measure.name)
                cells[measure.name] = _cells(
                    measure, rows if source is None else source, keys, bucket, fresh=source is None
                )
                frame = frame.join(_packed(cells[measure.name], keys, measure.name), on=keys, how="left")
        result[grain] = frame.select(columns(rollup, grain)).sort(keys)
    return result


def _first(measure: Measure) -> pl.Expr:
    """The measure over rows."""
    value = measure.value.last() if measure.merge == "last" else measure.value
    return value.cast(_DTYPES[measure.pg_type]).alias(measure.name)


def _again(measure: Measure) -> pl.Expr:
    """The measure over rows of a finer grain."""
    column = pl.col(measure.name)
    return {"add": column.sum(), "min": column.min(), "max": column.max(), "last": column.last()}[measure.merge]


def _cells(measure: Measure, rows: pl.DataFrame, keys: list[str], bucket: str, *, fresh: bool) -> pl.DataFrame:
    """The pairs of a sketch, one row each: `index` and `pairs` (their value)."""
    rows = rows.with_columns(pl.col("time" if fresh else "bucket").dt.truncate(bucket).alias("bucket"))
    if not fresh:
        merged = pl.col("pairs").sum() if measure.merge == "bins" else pl.col("pairs").max()
        return rows.group_by([*keys, "index"]).agg(merged)
    rows = rows.with_columns(measure.value.alias("item")).drop_nulls("item")
    if measure.merge == "bins":
        cells = rows.with_columns(bin_index(pl.col("item").cast(pl.Float64)).alias("index"))
        return cells.group_by([*keys, "index"]).agg(pl.len().cast(pl.Int64).alias("pairs"))
    items = rows["item"].unique()
    packed = pl.Series([register(item) for item in items], dtype=pl.Int64)
    known = pl.DataFrame({"item": items, "packed": packed})
    cells = rows.join(known, on="item").with_columns(
        (pl.col("packed") // (1 << SHIFT)).alias("index"), (pl.col("packed") % (1 << SHIFT)).alias("pairs")
    )
    return cells.group_by([*keys, "index"]).agg(pl.col("pairs").max())


def _packed(cells: pl.DataFrame, keys: list[str], name: str) -> pl.DataFrame:
    return cells.group_by(keys).agg(pack(pl.col("index"), pl.col("pairs")).sort().alias(name))
