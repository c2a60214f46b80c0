"""Bloom filters over 16-byte hashes that answer for a whole batch at once, and many of them that answer as fast as one."""

from __future__ import annotations

from collections.abc import Iterator, KeysView
from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS_AN_ID = 24
PROBES = 16
"""24 bits an id and 16 probes: about 1 in 100,000 unknown ids is taken for known and must be looked up."""

_WIDTHS: tuple[type[np.unsignedinteger[Any]], ...] = (np.uint8, np.uint16, np.uint32, np.uint64)

_STEP = 2**19
"""Bits that are unpacked at once: all of a large filter would be a hundred megabytes for a moment."""

_AT_ONCE = PROBES // 2
"""Probes that are looked at together; few ids need the other half.

Each step by numpy lets go of Python, and gets it back from a thread that computes only after a while: few large steps are quicker
than many small ones.
"""

_IDS = 2**15
"""Ids whose places are worked out at once, in four megabytes."""

_ALL = np.arange(PROBES, dtype=np.uint64)

Halves = NDArray[np.uint64]
"""Hashes as rows of two 64-bit halves."""

Words = NDArray[Any]
"""Unsigned integers of one of the widths."""


def split(hashes: bytes) -> Halves:
    """Joined 16-byte hashes as rows of two 64-bit halves."""
    return np.frombuffer(hashes, dtype="<u8").reshape(-1, 2)


def usual_bits(ids: int) -> int:
    """The bits of a filter for so many ids or up to a quarter more."""
    return max(64, (ids * BITS_AN_ID * 5 // 4 + 7) // 8 * 8)


def filter_of(hashes: bytes, usual: int) -> bytes:
    """The filter of these ids: of the usual number of bits where that is enough for them."""
    halves = split(hashes)
    size = usual
    while size < len(halves) * BITS_AN_ID:
        size *= 2  # so that few sizes are in use
    flags = np.zeros(size, dtype=np.bool_)
    for at in range(0, len(halves), _IDS):
        flags[_places(halves[at : at + _IDS], _ALL, size)] = True
    return np.packbits(flags, bitorder="little").tobytes()


class Filters:
    """Filters by number, which are asked together.

    Those of one size ask for the same bits, so they stand side by side: where the filter of one slice had a bit there is a word
    with one of each, and an id costs as much with 64 slices as with one.
    """

    def __init__(self) -> None:
        self._of: dict[int, _SideBySide] = {}
        self._blocks: list[_SideBySide] = []

    def numbers(self) -> KeysView[int]:
        """Those there are."""
        return self._of.keys()

    def add(self, number: int, written: bytes) -> None:
        """Takes over what `filter_of` made."""
        size = 8 * len(written)
        block = next((block for block in self._blocks if block.size == size and not block.is_full()), None)
        if block is None:
            block = _SideBySide(size)
            self._blocks.append(block)
        block.add(number, written)
        self._of[number] = block

    def remove(self, number: int) -> None:
        """Forgets one."""
        block = self._of.pop(number)
        block.remove(number)
        if block.is_empty():
            self._blocks.remove(block)

    def possible(self, halves: Halves) -> Iterator[tuple[int, int]]:
        """The number of a filter and the position of an id that it may hold; all others are certainly in none."""
        for block in self._blocks:
            yield from block.possible(halves)


class _SideBySide:
    """Up to 64 filters of one size, a bit of each word for each; one alone stays as it was written, an eighth of that."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._numbers: list[int | None] = [None] * 8
        self._alone: NDArray[np.uint8] | None = None
        self._words: Words = np.zeros(0, dtype=_WIDTHS[0])

    def is_full(self) -> bool:
        return len(self._numbers) == 64 and None not in self._numbers

    def is_empty(self) -> bool:
        return self._numbers.count(None) == len(self._numbers)

    def add(self, number: int, written: bytes) -> None:
        bits = np.frombuffer(written, dtype=np.uint8)
        if self.is_empty():
            self._alone = bits
            self._numbers[0] = number
            return
        if self._alone is not None:
            self._words = _unpacked(self._alone)
            self._alone = None
        if None not in self._numbers:
            wider = _WIDTHS[_WIDTHS.index(self._words.dtype.type) + 1]
            self._words = self._words.astype(wider)
            self._numbers += [None] * len(self._numbers)
        column = self._numbers.index(None)
        kind = self._words.dtype.type
        for at in range(0, self.size, _STEP):
            flags = _unpacked(bits[at // 8 : (at + _STEP) // 8]).astype(kind)
            self._words[at : at + _STEP] |= flags << kind(column)
        self._numbers[column] = number

    def remove(self, number: int) -> None:
        column = self._numbers.index(number)
        self._numbers[column] = None
        if self._alone is None:
            self._words &= ~self._words.dtype.type(1 << column)

    def _at(self, places: NDArray[np.uint64]) -> Words:
        """The bits that each place has, a bit of the word for each filter."""
        if self._alone is None:
            words: Words = self._words[places]
            return words
        shift = (places & np.uint64(7)).astype(np.uint8)
        bits: Words = (self._alone[places >> np.uint64(3)] >> shift) & np.uint8(1)
        return bits

    def _common(self, halves: Halves, probes: NDArray[np.uint64]) -> Words:
        """The filters that have all of these probes of each id, as bits of a word."""
        words: Words = np.bitwise_and.reduce(self._at(_places(halves, probes, self.size)), axis=1)
        return words

    def possible(self, halves: Halves) -> Iterator[tuple[int, int]]:
        found = self._common(halves, _ALL[:_AT_ONCE])
        left = np.flatnonzero(found)
        found = found[left] & self._common(halves[left], _ALL[_AT_ONCE:])
        left, found = left[found != 0], found[found != 0]
        for position, word in zip(left.tolist(), found.tolist(), strict=True):
            for column, number in enumerate(self._numbers):
                if number is not None and word >> column & 1:
                    yield number, position


def _unpacked(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.unpackbits(bits, bitorder="little")


def _places(halves: Halves, probes: NDArray[np.uint64], size: int) -> NDArray[np.uint64]:
    """Double hashing (Kirsch and Mitzenmacher 2006): the probes of each id, a row an id, from the two halves of its hash."""
    places = (halves[:, 1:] | np.uint64(1)) * probes
    places += halves[:, :1]
    places %= np.uint64(size)
    return places
