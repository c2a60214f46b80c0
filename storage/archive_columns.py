"""The columns of raw events in the archive, and one checksum over all of them that PostgreSQL and duckdb compute alike.

A row's text is unambiguous: each value behind its length in bytes. Its SHA-256 is cut into two numbers of 60 bits, which are added up
over the rows: the sums are exact and depend on no order, and a row that is twice in one place and once in the other shows.
"""

from __future__ import annotations

from typing import Any

import polars as pl
from psycopg.sql import SQL, Composed, Identifier

from aggregators.frames import MONEY, TIME, schema

PLACE: dict[str, Any] = {"batch": pl.Int64, "item": pl.Int32}
"""Which batch an event was written in, and its place there: together they are the row's own."""


def archived_columns(kind: str) -> dict[str, Any]:
    """Every column of a kind's raw table with its type in a frame; UUIDs and JSON are text."""
    return {**schema(kind), **PLACE}


def selected(types: dict[str, Any]) -> Composed:
    """The columns as PostgreSQL sends them to a frame: amounts, JSON and UUIDs as text, times in whole microseconds."""
    return SQL(", ").join(
        SQL("{c}::text").format(c=Identifier(name))
        if dtype == MONEY or name in ("metrics", "organization")
        else SQL("(extract(epoch from {c}) * 1000000)::bigint").format(c=Identifier(name))
        if dtype == TIME
        else Identifier(name)
        for name, dtype in types.items()
    )


def frame_of(types: dict[str, Any], rows: list[Any]) -> pl.DataFrame:
    """The frame of rows that `selected` brought. Amounts came as text, so no digit is lost."""
    columns = zip(*rows, strict=True) if rows else [()] * len(types)
    return pl.DataFrame(
        [_series(name, dtype, list(values)) for (name, dtype), values in zip(types.items(), columns, strict=True)]
    )


def _series(name: str, dtype: Any, values: list[Any]) -> pl.Series:
    if dtype == MONEY:
        return pl.Series(name, values, dtype=pl.String).cast(MONEY)
    if dtype == TIME:
        return pl.Series(name, values, dtype=pl.Int64).cast(TIME)
    return pl.Series(name, values, dtype=dtype)


def row_hash(kind: str) -> Composed:
    """The SHA-256 of a row of the raw table, in hex, as an expression of PostgreSQL."""
    texts = SQL(" || ").join(
        SQL("coalesce(octet_length({t})::text || ':' || {t}, '-')").format(t=_stored_text(name, dtype))
        for name, dtype in archived_columns(kind).items()
    )
    return SQL("encode(sha256(convert_to({}, 'UTF8')), 'hex')").format(texts)


HASH_SUMS = SQL(
    "sum(('x0' || substr(hash, 1, 15))::bit(64)::bigint)::text, sum(('x0' || substr(hash, 16, 15))::bit(64)::bigint)::text"
)
"""The two sums over a column `hash` that holds `row_hash`."""


def _stored_text(name: str, dtype: Any) -> Composed:
    column = Identifier(name)
    if dtype == MONEY:
        return SQL("trim_scale({})::text").format(column)
    if dtype == TIME:
        return SQL("(extract(epoch from {}) * 1000000)::bigint::text").format(column)
    return SQL("{}::text").format(column)


def file_summary(kind: str) -> str:
    """The query of duckdb that counts the rows of a Parquet file and makes the same two sums."""
    texts = SQL(" || ").join(
        SQL("coalesce(strlen({t})::varchar || ':' || {t}, '-')").format(t=_archived_text(name, dtype))
        for name, dtype in archived_columns(kind).items()
    )
    return (
        SQL(
            "select count(*), sum(('0x' || substr(hash, 1, 15))::ubigint)::varchar,"
            " sum(('0x' || substr(hash, 16, 15))::ubigint)::varchar"
            " from (select sha256({}) as hash from read_parquet($1)) as t"
        )
        .format(texts)
        .as_string(None)
    )


def _archived_text(name: str, dtype: Any) -> Composed:
    column = Identifier(name)
    if dtype == MONEY:
        return SQL("rtrim(rtrim({}::varchar, '0'), '.')").format(column)
    if dtype == TIME:
        return SQL("epoch_us({})::varchar").format(column)
    return SQL("{}::varchar").format(column)
