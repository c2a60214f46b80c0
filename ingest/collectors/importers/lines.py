"""The lines of a text file, plain or gzipped: one at a time, bounded in length, remembering where they stood."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

LONGEST_LINE = 1024 * 1024
"""Bytes of the longest line that is read; a longer one is passed over and rejected."""

_SHOWN = 2_000


class LineTooLong(ValueError):
    """A line is longer than 1 MiB."""


def is_gzip(path: Path) -> bool:
    """Tells by its first bytes whether a file is gzipped, whatever its name says."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


class Lines:
    """Iterates over a file's lines without their line ends. Use it as a context manager.

    Bytes that are not UTF-8 are shown as `\\xNN`: formats whose text must be right have had the whole file checked before.
    """

    def __init__(self, path: Path) -> None:
        self._raw = path.open("rb")
        self._stream = cast("IO[bytes]", gzip.GzipFile(fileobj=self._raw)) if is_gzip(path) else self._raw
        self._taken: list[str] = []
        self.number = 0
        self.first = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._raw.close()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """Returns the next line. Raises LineTooLong once for a line that is, and goes on behind it at the next call."""
        line = self._stream.readline(LONGEST_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
        if self.number == 1:
            text = text.removeprefix("\ufeff")
        if len(self._taken) < 100:
            self._taken.append(text[:_SHOWN])
        if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = self._stream.readline(LONGEST_LINE)
            raise LineTooLong(f"the line is longer than {LONGEST_LINE:,} bytes")
        return text

    def begin(self) -> None:
        """Notes that a new row begins with the next line."""
        self.first = self.number + 1
        self._taken.clear()

    @property
    def text(self) -> str:
        """The text of the row that was begun, at most its first 2,000 characters."""
        return "\n".join(self._taken)[:_SHOWN]

    @property
    def position(self) -> int:
        """Bytes of the file (as it lies on the disk) that were read."""
        return self._raw.tell()
