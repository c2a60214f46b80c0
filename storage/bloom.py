"""A Bloom filter over 16-byte hashes that answers for a whole batch at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS_AN_ID = 24
PROBES = 16
"""24 bits an id and 16 probes: about 1 in 100,000 unknown ids is taken for known and must be looked up."""


Halves = NDArray[np.uint64]
"""Hashes as rows of two 64-bit halves."""


def split(hashes: bytes) -> Halves:
    """Joined 16-byte hashes as rows of two 64-bit halves."""
    return np.frombuffer(hashes, dtype="<u8").reshape(-1, 2)


class Bloom:
    """Bits in which each id set 16; built once from all of a slice's ids, then only read."""

    def __init__(self, bits: bytes) -> None:
        self._bits = np.frombuffer(bits, dtype=np.uint8)
        self._size = np.uint64(len(bits) * 8)

    @classmethod
    def of(cls, hashes: bytes) -> Bloom:
        """The filter of these ids."""
        halves = split(hashes)
        size = max(64, (len(halves) * BITS_AN_ID + 7) // 8 * 8)
        flags = np.zeros(size, dtype=np.bool_)
        for probe in range(PROBES):
            flags[_place(halves, probe, np.uint64(size))] = True
        return cls(np.packbits(flags, bitorder="little").tobytes())

    def tobytes(self) -> bytes:
        """What `Bloom` reads again."""
        return self._bits.tobytes()

    def possible(self, halves: Halves) -> NDArray[np.intp]:
        """The positions of the ids that may be in the slice; all others are certainly not. Each probe halves what is left."""
        left = np.arange(len(halves))
        for probe in range(PROBES):
            place = _place(halves[left], probe, self._size)
            hit = (self._bits[(place >> np.uint64(3)).astype(np.intp)] >> (place & np.uint64(7)).astype(np.uint8)) & 1
            left = left[hit.astype(np.bool_)]
            if not len(left):
                break
        return left


def _place(halves: Halves, probe: int, size: np.uint64) -> NDArray[np.uint64]:
    """Double hashing (Kirsch and Mitzenmacher 2006): the probes of an id from the two halves of its hash."""
    places: NDArray[np.uint64] = (halves[:, 0] + np.uint64(probe) * (halves[:, 1] | np.uint64(1))) % size
    return places
