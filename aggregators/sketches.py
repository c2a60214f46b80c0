"""Mergeable sketches as packed pairs: log-scale bins for quantiles, HyperLogLog registers for distinct counts.

A sketch is a sorted list of 64-bit integers, each one pair: `index * 2**40 + value`. Bins merge by adding the values of equal
indexes, registers by taking the greatest. How they are stored is the matter of `sketch_bytes`.

Bins follow DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch", VLDB 2019) in relational form:
bin i > 0 holds the values in (g**(i-1), g**i] with g = (1 + a) / (1 - a), so that the bin's representative is within 1 % of each of them.
Negative values mirror the positive ones, zero has a bin of its own.
Registers follow HyperLogLog (Flajolet et al. 2007) with linear counting for small counts (Heule, Nunkesser, Hall 2013).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import polars as pl

SHIFT = 40
_MASK = (1 << SHIFT) - 1

ACCURACY = 0.0099
"""Relative error of a bin's representative; a little under the promised 1 %, which leaves room for floating point."""

_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = math.log(_GAMMA)
_OFFSET = 50_000
"""Added to the index of a positive magnitude, so that magnitudes down to 1e-300 keep a sign of their own."""

REGISTER_BITS = 12
"""2**12 registers: a standard error of 1.04 / sqrt(4096) = 1.6 %."""


def bin_index(value: pl.Expr) -> pl.Expr:
    """The bin of each value: 0 for zero, above 0 for positive, below 0 for negative values."""
    # The logarithm of zero is infinite and no integer: it becomes null here, and zero has its own branch.
    magnitude = (value.abs().log() / _LOG_GAMMA).ceil().cast(pl.Int64, strict=False) + _OFFSET
    return pl.when(value == 0).then(0).when(value > 0).then(magnitude).otherwise(-magnitude)


def bin_of(value: float) -> int:
    """`bin_index` of one positive value, for who counts as it happens."""
    return math.ceil(math.log(value) / _LOG_GAMMA) + _OFFSET


@lru_cache(maxsize=4_096)
def bin_value(index: int) -> float:
    """The value that stands for a bin, within 1 % of every value in it."""
    if index == 0:
        return 0.0
    size = 2 * math.exp((abs(index) - _OFFSET) * _LOG_GAMMA) / (_GAMMA + 1)
    return size if index > 0 else -size


def pack(index: pl.Expr, value: pl.Expr) -> pl.Expr:
    """Packs pairs of an index and a value below 2**40."""
    return index.cast(pl.Int64) * (1 << SHIFT) + value.cast(pl.Int64)


def unpack(pair: int) -> tuple[int, int]:
    """The index and the value of a packed pair."""
    return pair >> SHIFT, pair & _MASK


def quantile(bins: Sequence[int] | None, q: float) -> float | None:
    """The smallest value whose cumulative count reaches q of all (quantile_disc), within 1 %; None without values."""
    if not bins:
        return None
    pairs = sorted(unpack(pair) for pair in bins)
    # ceil of q*n with a guard against 0.95 * 20 = 18.999…: the rank is a whole number.
    rank = max(1, math.ceil(q * sum(count for _, count in pairs) - 1e-9))
    reached = 0
    for index, count in pairs:
        reached += count
        if reached >= rank:
            return bin_value(index)
    raise AssertionError("the counts of a sketch end before its sum")


def register(item: str) -> int:
    """The packed register that one item sets. Stable over processes and versions: the hash is BLAKE2b."""
    digest = int.from_bytes(hashlib.blake2b(item.encode(), digest_size=8).digest(), "big")
    rest = digest & ((1 << (64 - REGISTER_BITS)) - 1)
    return ((digest >> (64 - REGISTER_BITS)) << SHIFT) + (64 - REGISTER_BITS) - rest.bit_length() + 1


def distinct(registers: Iterable[int] | None) -> int:
    """The estimated number of different items; exact for a handful, with a standard error of 1.6 % for many."""
    size = 1 << REGISTER_BITS
    ranks = [pair & _MASK for pair in registers or ()]
    zeros = size - len(ranks)
    if zeros > 0 and (linear := size * math.log(size / zeros)) <= 2.5 * size:
        return round(linear)
    total = zeros + sum(2.0**-rank for rank in ranks)
    return round(0.7213 / (1 + 1.079 / size) * size * size / total)
