"""The file of an import's rejected rows, one JSON object a row, beside the file that was imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

import msgspec

from ingest.collectors.importers.batches import RejectedRow
from ingest.collectors.importers.row import FileFault


class RejectedFile:
    """Made with the first rejected row; `path` is None until then. Without a file to stand beside it writes nothing."""

    def __init__(self, beside: Path | None) -> None:
        self._wanted = beside.with_name(beside.name + ".rejected.ndjson") if beside is not None else None
        self._out: IO[bytes] | None = None
        self.path: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._out is not None:
            self._out.close()

    def write(self, rows: Sequence[RejectedRow], *, add: bool) -> None:
        """Writes rows; `add` keeps what an earlier part of the same import wrote. Raises FileFault where that is impossible."""
        if self._wanted is None:
            return
        try:
            if self._out is None:
                self._out = self._wanted.open("ab" if add else "wb")
                self.path = self._wanted
            self._out.writelines(msgspec.json.encode(row) + b"\n" for row in rows)
            self._out.flush()
        except OSError as error:
            raise FileFault(f"{self._wanted}: {error.strerror or error}") from None
