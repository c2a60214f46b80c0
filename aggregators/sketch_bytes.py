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

from aggregators.sketch_columns import Integers, Sketches
from aggregators.sketches import SHIFT

_LOW = 0x7F
_MORE = 0x80
_NONE = np.zeros(0, dtype=np.int64)


def write(sketches: Sketches, height: int) -> tuple[bytes, Integers]:
    """The bytes of each of `height` rows, one behind the other, and where each row's end; only of merged sketches."""
    ends = sketches.ends(height)
    begins = np.concatenate([_NONE, [0], ends[:-1]])[:height]
    begins = begins[begins < ends]
    indexes, values = sketches.pairs >> SHIFT, sketches.pairs & ((1 << SHIFT) - 1)
    gaps = np.diff(indexes, prepend=0)
    first = indexes[begins]
    gaps[begins] = np.where(first < 0, -2 * first - 1, 2 * first) + 1
    # Nearly every number takes one byte, so two bytes a pair are laid out at once and the few others put in between.
    pairs = np.empty((len(indexes), 2), dtype=np.uint8)
    places, further = [_NONE], [_NONE]
    for column, numbers in enumerate((gaps, values)):
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


def read(rows: Sequence[bytes], merge: str) -> Sketches:
    """The sketches of rows of bytes. A row may hold none, or several one behind the other, whose pairs are then still to be merged."""
    written = np.frombuffer(b"".join(rows), dtype=np.uint8)
    marks, unfinished = np.flatnonzero(written == 0), np.flatnonzero(written > _LOW)
    # What is left without the marks and the further bytes of long numbers is two bytes a pair.
    removed = np.sort(np.concatenate([marks, unfinished + 1]))
    numbers = np.delete(written, removed).astype(np.int64) & _LOW
    place = unfinished[np.diff(unfinished, prepend=-2) > 1]
    number = place - np.searchsorted(removed, place)
    shift = 0
    while len(place):
        place, shift = place + 1, shift + 7
        numbers[number] |= (written[place].astype(np.int64) & _LOW) << shift
        more = written[place] > _LOW
        place, number = place[more], number[more]
    begins = (marks - np.searchsorted(removed, marks)) // 2
    gaps, values = numbers[0::2], numbers[1::2]
    first = gaps[begins] - 1
    first = (first >> 1) ^ -(first & 1)
    gaps[begins] = first
    indexes = np.cumsum(gaps)
    indexes -= np.repeat(indexes[begins] - first, np.diff(begins, append=len(gaps)))
    row_ends = np.cumsum(np.fromiter(map(len, rows), dtype=np.int64, count=len(rows)))
    counts = np.diff((row_ends - np.searchsorted(removed, row_ends)) // 2, prepend=0)
    return Sketches(np.repeat(np.arange(len(rows)), counts), (indexes << SHIFT) + values, merge)
