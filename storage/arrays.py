"""Columns of a frame as PostgreSQL arrays: in binary where the values are of one width, else as text."""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Sequence

import numpy as np
import polars as pl
import psycopg
from numpy.typing import NDArray
from psycopg.adapt import Dumper
from psycopg.pq import Format

_POSTGRES_EPOCH_US = 946_684_800_000_000
"""PostgreSQL counts microseconds from 2000-01-01."""

_EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)

_ELEMENT_OIDS = {"bigint": 20, "double precision": 701, "timestamptz": 1184, "numeric": 1700}

_BASE = 10_000
"""PostgreSQL keeps a numeric as digits of this base, with a whole number of them on each side of the point."""

_NEGATIVE = 0x4000

_SIGNIFICANT = np.array([len(f"{digit:04d}".rstrip("0")) for digit in range(_BASE)])
"""How many decimal digits of a digit of that base are left without the zeros at its end."""


class _Binary(bytes):
    """An array as it goes over the wire. Each type has a class of its own, because a parameter's type follows from its class."""


class BigintArray(_Binary):
    """bigint[]"""


class DoubleArray(_Binary):
    """double precision[]"""


class TimeArray(_Binary):
    """timestamptz[]"""


class NumericArray(_Binary):
    """numeric[]"""


class _BinaryDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _Binary) -> bytes:
        return bytes(obj)


class _BigintDumper(_BinaryDumper):
    oid = 1016


class _DoubleDumper(_BinaryDumper):
    oid = 1022


class _TimeDumper(_BinaryDumper):
    oid = 1185


class _NumericDumper(_BinaryDumper):
    oid = 1231


psycopg.adapters.register_dumper(BigintArray, _BigintDumper)
psycopg.adapters.register_dumper(DoubleArray, _DoubleDumper)
psycopg.adapters.register_dumper(TimeArray, _TimeDumper)
psycopg.adapters.register_dumper(NumericArray, _NumericDumper)


Wire = _Binary | str
"""An array as a parameter of a statement, which casts it to the array of its type."""


def array(series: pl.Series) -> Wire:
    """One column as a parameter. Numbers and times without nulls go in binary, which PostgreSQL reads up to five times as fast."""
    if not series.null_count():
        if series.dtype == pl.Int64:
            return BigintArray(_packed(series.to_numpy(), ">i8", "bigint"))
        if series.dtype == pl.Float64:
            return DoubleArray(_packed(series.to_numpy(), ">f8", "double precision"))
        if isinstance(series.dtype, pl.Datetime):
            moments = series.dt.epoch("us").to_numpy() - _POSTGRES_EPOCH_US
            return TimeArray(_packed(moments, ">i8", "timestamptz"))
        if isinstance(series.dtype, pl.Decimal):
            return _numerics(series) or literal(series)
    return literal(series)


def times(moments: Sequence[dt.datetime]) -> TimeArray:
    """Times as one array."""
    return TimeArray(
        _packed(np.array([(m - _EPOCH) // _MICROSECOND for m in moments], dtype=np.int64), ">i8", "timestamptz")
    )


def _packed(values: NDArray[np.int64] | NDArray[np.float64], form: str, element: str) -> bytes:
    """The binary format of array_send: a header, then each value behind its length."""
    body = np.empty(len(values), dtype=[("length", ">i4"), ("value", form)])
    body["length"] = 8
    body["value"] = values
    return _header(element, len(values)) + body.tobytes()


def _header(element: str, count: int) -> bytes:
    return struct.pack(">iiIii", 1, 0, _ELEMENT_OIDS[element], count, 1)


def _numerics(series: pl.Series) -> NumericArray | None:
    """Decimals as numeric_send writes them; None where what stands before or behind the point does not fit into 64 bits.

    All have as many digits of base 10,000 as the longest, for numeric_recv passes over zeros at either end. `scale`, the number
    of decimal digits behind the point, is each one's own, so that what is stored reads as the text would.
    """
    unit = pl.lit(10**series.dtype.scale, dtype=pl.Int128)  # type: ignore[attr-defined]
    number = pl.lit(series.to_physical())
    size = number.abs()
    split = pl.select(
        (size // unit).cast(pl.Int64, strict=False).alias("whole"),
        (size % unit).cast(pl.Int64, strict=False).alias("part"),
        (number < 0).alias("negative"),
    )
    if split["whole"].null_count() or split["part"].null_count():
        return None
    whole = _whole_digits(split["whole"].to_numpy())
    part = _part_digits(split["part"].to_numpy(), series.dtype.scale)  # type: ignore[attr-defined]
    digits = [*whole, *part]
    scale = np.zeros(len(series), dtype=np.int64)
    for place, digit in enumerate(part):
        significant = _SIGNIFICANT[digit]
        scale = np.where(significant, 4 * place + significant, scale)
    numbers = ("count", "weight", "sign", "scale")
    body = np.empty(
        len(series), dtype=[("length", ">i4"), *((name, ">u2") for name in numbers), ("digits", ">u2", len(digits))]
    )
    body["length"] = 2 * (len(numbers) + len(digits))
    body["count"] = len(digits)
    body["weight"] = len(whole) - 1
    body["sign"] = np.where(split["negative"].to_numpy(), _NEGATIVE, 0)
    body["scale"] = scale
    for place, digit in enumerate(digits):
        body["digits"][:, place] = digit
    return NumericArray(_header("numeric", len(series)) + body.tobytes())


def _whole_digits(numbers: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Digits of base 10,000, the first of the longest number first; at least one."""
    digits: list[NDArray[np.int64]] = []
    while not digits or numbers.any():
        rest = numbers // _BASE
        digits.insert(0, numbers - rest * _BASE)
        numbers = rest
    return digits


def _part_digits(numbers: NDArray[np.int64], scale: int) -> list[NDArray[np.int64]]:
    """Digits of base 10,000 behind the point, as many as the longest needs; the numbers count units of 10**-scale."""
    digits: list[NDArray[np.int64]] = []
    while numbers.any():
        scale -= 4
        digit = numbers // 10**scale if scale >= 0 else numbers * 10**-scale
        numbers = numbers - digit * 10**scale if scale >= 0 else np.zeros_like(numbers)
        digits.append(digit)
    return digits


def literal(series: pl.Series) -> str:
    """One column as the text of an array. Written by polars: ten times as fast as a driver's lists."""
    if series.dtype == pl.String:
        if series.str.contains(r'["\\]').any():
            series = series.str.replace_all("\\", "\\\\", literal=True).str.replace_all('"', '\\"', literal=True)
        series = pl.select(pl.concat_str(pl.lit('"'), pl.lit(series), pl.lit('"'))).to_series()
    elif isinstance(series.dtype, pl.Datetime):
        series = series.dt.strftime('"%Y-%m-%dT%H:%M:%S%.6fZ"')
    elif isinstance(series.dtype, pl.Decimal):
        series = plain_digits(series)
    else:
        series = series.cast(pl.String)
    joined = series.fill_null("NULL").str.join(",")
    return "{" + (joined.item() or "") + "}"


def plain_digits(series: pl.Series) -> pl.Series:
    """Decimals as text without the zeros at their end, which PostgreSQL would have to read one by one."""
    if not series.dtype.scale:  # type: ignore[attr-defined]
        return series.cast(pl.String)
    return series.cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
