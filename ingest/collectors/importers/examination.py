"""A first look through a whole file, before any of it is sent: its digest, its size in lines, and whether it is sound."""

from __future__ import annotations

import asyncio
import codecs
import gzip
import hashlib
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ingest.collectors.importers.lines import is_gzip
from ingest.collectors.importers.row import FileFault

_CHUNK = 4 * 1024 * 1024
_OTHER_ENCODINGS = ((codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"))


class Examined(msgspec.Struct, frozen=True):
    """What the first look found. `digest` is the SHA-256 of the file's bytes as they lie on the disk, `lines` counts its lines."""

    path: Path
    digest: str
    size: int
    lines: int
    stamp: tuple[int, int, int]

    def unchanged(self) -> bool:
        """Tells whether the file is still the one that was examined."""
        return _stamp(self.path) == self.stamp


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


async def examine(path: Path, *, utf8: bool, on_bytes: Callable[[int, int], None]) -> Examined:
    """Reads the whole file once (a gzipped one twice), in a thread, calling `on_bytes(done, size)` in between.

    Because the fault of a file shows here, an import never stops half-way for it. Raises FileFault for a file that is missing,
    empty or cut off, and with `utf8` for one that is not UTF-8, naming the line.
    """
    steps = _examine(path, utf8=utf8)
    while True:
        try:
            found = await asyncio.to_thread(next, steps)
        except (EOFError, zlib.error) as error:
            raise FileFault(
                f"{path}: the gzip data is cut off or damaged, the file is not complete ({error})"
            ) from None
        except gzip.BadGzipFile as error:
            raise FileFault(f"{path}: the gzip data is damaged ({error})") from None
        except OSError as error:
            raise FileFault(f"{path}: {error.strerror or error}") from None
        if isinstance(found, Examined):
            return found
        on_bytes(*found)


def _examine(path: Path, *, utf8: bool) -> Iterator[tuple[int, int] | Examined]:
    stamp = _stamp(path)
    if not stat.S_ISREG(path.stat().st_mode):
        raise FileFault(f"{path}: is no regular file; an import reads it twice, so write it to a file first")
    size = stamp[0]
    digest = hashlib.sha256()
    text = _Text(path, utf8=utf8)
    zipped = is_gzip(path)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if not zipped:
                text.add(chunk)
                yield file.tell(), size
    if zipped:
        with path.open("rb") as file, gzip.GzipFile(fileobj=file) as unzipped:
            while chunk := unzipped.read(_CHUNK):
                text.add(chunk)
                yield file.tell(), size
    yield Examined(path, digest.hexdigest(), size, text.finish(), stamp)


class _Text:
    """Counts lines and, where asked, checks that the text is UTF-8."""

    def __init__(self, path: Path, *, utf8: bool) -> None:
        self._path = path
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict") if utf8 else None
        self._lines = 0
        self._ended = True
        self._blank = True

    def add(self, chunk: bytes) -> None:
        if self._lines == 0 and self._ended and self._decoder is not None:
            for mark, name in _OTHER_ENCODINGS:
                if chunk.startswith(mark):
                    raise FileFault(f"{self._path}: is {name} text; save it as UTF-8")
        self._decode(chunk, final=False)
        self._lines += chunk.count(b"\n")
        self._ended = chunk.endswith(b"\n")
        self._blank = self._blank and not chunk.removeprefix(codecs.BOM_UTF8).strip()

    def finish(self) -> int:
        self._decode(b"", final=True)
        if self._blank:
            raise FileFault(f"{self._path}: is empty")
        return self._lines + (not self._ended)

    def _decode(self, chunk: bytes, *, final: bool) -> None:
        if self._decoder is None:
            return
        try:
            self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            line = self._lines + error.object[: error.start].count(b"\n") + 1
            byte = error.object[error.start]
            raise FileFault(
                f"{self._path}: line {line} is not UTF-8 (byte 0x{byte:02x}); save the file as UTF-8"
            ) from None
