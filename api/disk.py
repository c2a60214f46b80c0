"""The disk under the data folder: how much room it has, and when that is too little."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

LOW_SHARE = 5.0
"""In %: below it the disk is low, where that is no more than LOW_BYTES."""
LOW_BYTES = 5 * 1024**3
FULL_BYTES = 64 * 1024**2
"""Below it PostgreSQL may find no room for the next segments of its log, 16 MiB each, and events cannot be counted."""


class DiskHealth(msgspec.Struct):
    """`ok`, `low`, `full`, or `unknown` where it cannot be looked at. `free_share` in %; `needed`: events are stored on it."""

    status: str
    needed: bool
    free_bytes: int | None = None
    total_bytes: int | None = None
    free_share: float | None = None

    @property
    def hinders(self) -> bool:
        """Whether events cannot be counted because of it."""
        return self.needed and self.status == "full"


@dataclass(frozen=True)
class Disk:
    """The folder to look at, and whether events are stored there: an external database's disk is its own to watch."""

    folder: Path
    needed: bool
    usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage

    def health(self) -> DiskHealth:
        """Blocks for as long as the file system takes."""
        try:
            total, _, free = self.usage(self.folder)
        except OSError:
            return DiskHealth("unknown", self.needed)
        low = min(LOW_BYTES, total * LOW_SHARE / 100)
        status = "full" if free < FULL_BYTES else "low" if free < low else "ok"
        return DiskHealth(status, self.needed, free, total, round(100.0 * free / total, 2) if total else None)
