"""Sketches as they are stored: bytes, a little over two a pair where a packed pair takes eight.

A sketch is a row of whole numbers, each written as a LEB128 varint: seven bits a byte, the lowest first, the high bit set on all bytes
but the last. They are: 0, which begins a sketch and stands nowhere else; the first index, zigzag-coded and raised by one, so that it
is never 0; the first value; then, for every further pair, the distance of its index to the one before, and its value. Values are above 0.

Equal sketches have equal bytes, and sketches one behind the other can be told apart: a database compares them and collects them without
knowing any of this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aggregators.sketch_columns import Integers, Sketches

Bytes = NDArray[np.uint8]

_LOW = 0x7F
_MORE = 0x80
_NONE = np.zeros(0, dtype=np.int64)


def write_sketches(sketches: Sketches, height: int) -> tuple[bytes, Integers]:
    """The bytes of each of `height` rows, one behind the other, and where each row's end; only of whole sketches."""
    ends = sketches.ends(height)
    begins = np.concatenate([_NONE, [0], ends[:-1]])[:height]
    begins = begins[begins < ends]
    gaps = np.diff(sketches.indexes, prepend=0)
    first = sketches.indexes[begins]
    gaps[begins] = np.where(first < 0, -2 * first - 1, 2 * first) + 1
    # Nearly every number takes one byte, so two bytes a pair are laid out at once and the few others put in between.
    pairs = np.empty((len(gaps), 2), dtype=np.uint8)
    places, further = [_NONE], [_NONE]
    for column, numbers in enumerate((gaps, sketches.values)):
        pairs[:, column] = numbers & _LOW
        longer = np.flatnonzero(numbers > _LOW)
        pairs[longer, column] |= _MORE
        rest = numbers[longer] >> 7
        while len(rest):
            more = rest > _LOW
            places.append(2 * longer + column + 1)
            further.append((rest & _LOW) | (more * _MORE))
            longer, rest = longer[more], rest[more] >> 7
    behind = np.sort(np.concatenate(places))
    # Of what goes to the same place the end of one sketch comes before the mark of the next.
    marked = np.insert(
        pairs.ravel(),
        np.concatenate([*places, 2 * begins]),
        np.concatenate([*further, np.zeros(len(begins), dtype=np.int64)]),
    )
    return marked.tobytes(), 2 * ends + np.searchsorted(behind, 2 * ends, side="right") + np.searchsorted(begins, ends)


def read_sketches(rows: Sequence[bytes], merge: str) -> Sketches:
    """The sketches of rows of bytes. A row may hold none, or several one behind the other, which are then not whole yet."""
    written = np.frombuffer(b"".join(rows), dtype=np.uint8)
    sizes = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    marks, unfinished = np.flatnonzero(written == 0), np.flatnonzero(written > _LOW)
    # What is left without the marks and the further bytes of long numbers is two bytes a pair.
    removed = np.sort(np.concatenate([marks, unfinished + 1]))
    pairs = (np.delete(written, removed) & _LOW).reshape(-1, 2)
    gaps, values = pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)
    place = unfinished[np.diff(unfinished, prepend=-2) > 1]
    number = place - np.searchsorted(removed, place)
    for column, numbers in enumerate((gaps, values)):
        mine = number % 2 == column
        _lengthen(numbers, number[mine] // 2, written, place[mine])
    begins = (marks - np.searchsorted(removed, marks)) // 2
    first = gaps[begins] - 1
    first = (first >> 1) ^ -(first & 1)
    # One sum over all sketches: each begins with its own first index less the last one before it.
    lasts = np.add.reduceat(gaps, begins) - gaps[begins] + first if len(begins) else first
    gaps[begins] = first
    gaps[begins[1:]] -= lasts[:-1]
    row_ends = np.cumsum(sizes)
    counts = np.diff((row_ends - np.searchsorted(removed, row_ends)) // 2, prepend=0)
    owners = np.repeat(np.arange(len(rows)), counts)
    return Sketches(owners, np.cumsum(gaps), values, merge, whole=len(marks) == np.count_nonzero(sizes))


def _lengthen(numbers: Integers, at: Integers, written: Bytes, place: Integers) -> None:
    """Adds the further bytes of the long numbers among these: those `at` some positions, the first bytes of which stand at `place`."""
    shift = 0
    while len(place):
        place, shift = place + 1, shift + 7
        numbers[at] |= (written[place].astype(np.int64) & _LOW) << shift
        more = written[place] > _LOW
        place, at = place[more], at[more]
