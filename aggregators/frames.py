"""Raw frames: the events of one kind as columns, the same whether they just arrived or come back from the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl

from ingest.events import Event
from ingest.events.envelope import FRACTION_DIGITS
from ingest.events.fields import fields, microseconds

TIME = pl.Datetime("us", "UTC")
MONEY = pl.Decimal(38, FRACTION_DIGITS)
_TINY = 1e-280

ENVELOPE: dict[str, Any] = {
    "organization": pl.String,
    "time": TIME,
    "source": pl.String,
    "id": pl.String,
    "sequence": pl.Int64,
}
"""The columns that every kind has."""

COLUMNS: dict[str, dict[str, Any]] = {
    "system": {"host": pl.String, "metrics": pl.String},
    "enterprise": {"team_type": pl.String, "metrics": pl.String},
    "trade": {
        "trade_id": pl.String,
        "user_id": pl.String,
        "broker": pl.String,
        "symbol": pl.String,
        "strategy": pl.String,
        "side": pl.String,
        "quantity": MONEY,
        "entry_price": MONEY,
        "exit_price": MONEY,
        "fees": MONEY,
        "pnl": MONEY,
        "currency": pl.String,
        "opened_at": TIME,
    },
    "view": {
        "video_id": pl.String,
        "creator_id": pl.String,
        "user_id": pl.String,
        "session_id": pl.String,
        "action": pl.String,
        "watch_ms": pl.Int64,
    },
}
"""The columns of each kind's own, named as the fields of its data; `metrics` is JSON. A trade's `closed_at` is its `time`."""

_JSON = msgspec.json.Encoder(decimal_format="number")


def schema(kind: str) -> dict[str, Any]:
    """Column names and types of a kind's raw frame, in the order of its table."""
    return {**ENVELOPE, **COLUMNS[kind]}


def raw_frame(kind: str, organizations: Sequence[str], events: Sequence[Event]) -> pl.DataFrame:
    """The events of one kind as the columns of `schema`, in the order given, but amounts as text: the digits that were sent.

    `organizations` has one entry an event. `with_amounts` makes numbers of the amounts.
    """
    envelope = fields(events)
    data = fields(envelope.get("data", ()))
    found = [pl.Series("organization", organizations, dtype=pl.String)]
    found += [_series(name, ENVELOPE[name], envelope.get(name, ())) for name in ("time", "source", "id", "sequence")]
    found += [_series(name, dtype, data.get(name, ())) for name, dtype in COLUMNS[kind].items()]
    return pl.DataFrame(found)


def with_amounts(kind: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its amounts as exact numbers, as `schema` has them."""
    return frame.with_columns(pl.col(name).cast(MONEY) for name, dtype in COLUMNS[kind].items() if dtype == MONEY)


def _series(name: str, dtype: Any, values: Sequence[Any]) -> pl.Series:
    """A column of Python values. What polars would take one by one goes to it as one text or as integers, ten times as fast."""
    if dtype == TIME:
        return pl.Series(name, microseconds(values)).cast(TIME)
    if dtype == MONEY:
        return _lines(name, b"\n".join(values))
    if name == "metrics":
        return _lines(name, _JSON.encode_lines(values)[:-1])
    return pl.Series(name, values, dtype=dtype)


def _lines(name: str, text: bytes) -> pl.Series:
    """A line a row. Neither digits nor JSON, whose line breaks are escapes, can hold a line break."""
    return pl.Series(name, text.decode().split("\n") if text else [], dtype=pl.String)


def spans(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Organization, number of events, first and last time of each organization in a raw frame, in their order."""
    times = (pl.len(), pl.col("time").min().alias("first"), pl.col("time").max().alias("last"))
    return frame.group_by("organization").agg(*times).sort("organization").rows()


def cloud_event(kind: str, row: dict[str, Any]) -> dict[str, Any]:
    """The CloudEvent that a raw row came from: its envelope and its data, without the fields that were absent."""
    data = {name: row[name] for name in COLUMNS[kind] if row[name] is not None}
    if isinstance(data.get("metrics"), str):
        data["metrics"] = msgspec.Raw(data["metrics"].encode())
    if kind == "trade":
        data["closed_at"] = row["time"]
    event = {
        "specversion": "1.0",
        "id": row["id"],
        "source": row["source"],
        "type": kind,
        "time": row["time"],
        "data": data,
    }
    if row["sequence"] is not None:
        event["sequence"] = str(row["sequence"])
    return event


def long_metrics(frame: pl.DataFrame, value_type: Any) -> pl.DataFrame:
    """One row a metric: the frame's rows repeated with `metric` and `value` in place of the JSON column `metrics`.

    Values travel as the number's own digits, so that no binary float touches a decimal.
    """
    found = _split_metrics(frame["metrics"])
    if found is None:
        found = _parsed_metrics(frame["metrics"])
    counts, names, values = found
    rows = pl.int_range(frame.height, eager=True).repeat_by(counts).explode(empty_as_null=False)
    value = pl.col("value").cast(value_type)
    if value_type != MONEY:
        # PostgreSQL refuses a quotient or a product below the smallest double, so figures that small are rolled up as zero.
        value = pl.when(value.abs() < _TINY).then(0.0).otherwise(value).alias("value")
    return frame.drop("metrics")[rows].with_columns(names.alias("metric"), values.alias("value")).with_columns(value)


_Metrics = tuple[pl.Series, pl.Series, pl.Series]
"""How many metrics each row has, then all names and the texts of all values in order."""


def _split_metrics(texts: pl.Series) -> _Metrics | None:
    """Takes flat JSON objects apart at their commas and colons; None where a name holds one of those, or an escape.

    Metric names are snake_case (ingest.names), so this is the rule; polars does it without holding up other Python threads.
    """
    if texts.str.contains("\\", literal=True).any():
        return None
    pairs = texts.str.strip_prefix("{").str.strip_suffix("}").str.split(",")
    cells = pairs.explode(empty_as_null=False).str.splitn('":', 2).struct.unnest()
    names, values = cells["field_0"], cells["field_1"]
    if values.null_count():
        return None
    # PostgreSQL writes jsonb with a space behind each comma and colon.
    names = names.str.strip_prefix(" ").str.strip_prefix('"')
    return pairs.list.len(), names, values.str.strip_prefix(" ")


def _parsed_metrics(texts: pl.Series) -> _Metrics:
    """Takes JSON objects apart by parsing them."""
    metrics = msgspec.json.decode("[" + ",".join(texts.to_list()) + "]", type=list[dict[str, msgspec.Raw]])
    names = [name for entry in metrics for name in entry]
    values = [bytes(value).decode() for entry in metrics for value in entry.values()]
    counts = pl.Series([len(entry) for entry in metrics], dtype=pl.UInt32)
    return counts, pl.Series(names, dtype=pl.String), pl.Series(values, dtype=pl.String)
