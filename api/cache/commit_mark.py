"""The commit mark: a small file in which the processes of one service on one machine tell each other at once that they committed."""

from __future__ import annotations

import mmap
import os
import secrets
import zlib
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

SLOTS = 4_096
_WIDTH = 8


class CommitMark:
    """A place in shared memory for each (organization, kind), found by a hash, so that a few share one.

    Whoever commits writes a value there that never stood there before, after the commit and before the sender is told. An answer
    that remembers the value from before its data was read, and finds it unchanged, misses nothing that anybody was told of. A value
    drawn at random, where a count would do for one process, is right without a lock for any number of them: of two that write at
    once each had committed before. What is torn is equal to nothing.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it; all processes of the service name the same. Raises OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size < SLOTS * _WIDTH:
                os.ftruncate(descriptor, SLOTS * _WIDTH)
            self._map = mmap.mmap(descriptor, SLOTS * _WIDTH)
        finally:
            os.close(descriptor)
        self._values = memoryview(self._map).cast("Q")

    def close(self) -> None:
        """Lets go of the file."""
        self._values.release()
        self._map.close()

    def slots(self, organization: UUID, kinds: Iterable[str]) -> tuple[int, ...]:
        """Where the marks of these kinds stand."""
        return tuple(zlib.crc32(kind.encode(), zlib.crc32(organization.bytes)) % SLOTS for kind in kinds)

    def values(self, slots: Iterable[int]) -> tuple[int, ...]:
        """What stands there now."""
        values = self._values
        return tuple([values[slot] for slot in slots])

    def raise_(self, organization: UUID, kinds: Iterable[str]) -> None:
        """Says that these kinds have changed: after the commit, before anybody is told of it."""
        for slot in self.slots(organization, kinds):
            self._values[slot] = secrets.randbits(64)

    def raise_all(self) -> None:
        """Says that everything has changed."""
        for slot in range(SLOTS):
            self._values[slot] = secrets.randbits(64)
