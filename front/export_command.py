"""`streamgauge export`: downloads a rollup's rows as a file, and holds it against the export's manifest before it gets its name."""

from __future__ import annotations

import csv
import hashlib
import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from front.settings import InvalidSetting, Settings
from front.targets import Target, address

_PATH = "/api/v1/exports"
_TIMEOUT_S = 120.0
_MAKING_S = 3_700.0
"""For files that are made before their first byte is sent: longer than any service gives them (STREAMGAUGE_EXPORT_SECONDS)."""
_PIECE = 256 * 1024


@dataclass(frozen=True)
class AskedExport:
    """The parameters of the export by name; those that are None are the service's defaults."""

    rollup: str
    format: str
    parameters: dict[str, str | None]
    filters: list[str]

    def query(self) -> str:
        """As they stand in the address."""
        pairs = [("rollup", self.rollup), ("format", self.format)]
        pairs += [(name, value) for name, value in self.parameters.items() if value is not None]
        return urllib.parse.urlencode([*pairs, *(("filter", one) for one in self.filters)])


class NotExported(Exception):
    """There is no file; the message says why."""


def export_command(settings: Settings, target: Target, asked: AskedExport, out: Path | None, console: Console) -> int:
    """Writes the file and prints its name; returns 0, or 1 where it did not come whole. Raises InvalidSetting."""
    base, key = address(settings, target)
    if urllib.parse.urlsplit(base).scheme not in ("http", "https"):
        raise InvalidSetting(f"--url: {escape(base)} is no http address")
    try:
        with _bar(console) as bar:
            place = _exported(base.rstrip("/"), key, asked, out, bar)
    except KeyboardInterrupt:
        console.print("[bold red]no export[/] it was interrupted")
        return 1
    except (NotExported, OSError, http.client.HTTPException) as error:
        console.print(f"[bold red]no export[/] {escape(str(error))}", soft_wrap=True)
        return 1
    print(place)
    return 0


def _exported(base: str, key: str, asked: AskedExport, out: Path | None, bar: Progress) -> Path:
    """The file once it is there, whole. Raises NotExported, OSError, HTTPException."""
    task = bar.add_task(f"{asked.rollup} is being read", total=None)
    waiting = _TIMEOUT_S if asked.format == "csv" else _MAKING_S
    with _opened(base, f"{_PATH}?{asked.query()}", key, waiting) as answer:
        place = out or Path(_named(answer.headers.get("Content-Disposition", ""), asked))
        bar.update(task, description=asked.rollup, total=answer.length)
        unfinished = place.with_name(place.name + ".part")
        try:
            size, digest, broken = _saved(answer, unfinished, lambda more: bar.advance(task, more))
            bar.update(task, description=f"{asked.rollup} is being checked")
            _check(_manifest(base, key, answer.headers["X-Export-ID"]), unfinished, size, digest, broken)
            unfinished.replace(place)
        finally:
            unfinished.unlink(missing_ok=True)
    return place


def _saved(
    answer: http.client.HTTPResponse, place: Path, tell: Callable[[int], object]
) -> tuple[int, str, Exception | None]:
    """Bytes and checksum of what came, and what ended it before its time."""
    size, digest = 0, hashlib.sha256()
    with place.open("wb") as file:
        try:
            while piece := answer.read(_PIECE):
                digest.update(piece)
                size += len(piece)
                tell(len(piece))
                file.write(piece)
        except (http.client.IncompleteRead, ConnectionError, TimeoutError) as error:
            return size, digest.hexdigest(), error
    return size, digest.hexdigest(), None


def _check(manifest: dict[str, Any], place: Path, size: int, digest: str, broken: Exception | None) -> None:
    """Raises NotExported where the file is not what the manifest says."""
    if manifest["status"] == "failed":
        raise NotExported(f"the transfer broke: {manifest['error']}")
    if broken is not None:
        raise NotExported(f"the transfer broke after {size:,} bytes: {broken or type(broken).__name__}")
    if manifest["status"] != "complete":
        raise NotExported(f"the transfer ended after {size:,} bytes, but the export is {manifest['status']}")
    if (size, digest) != (manifest["bytes"], manifest["sha256"]):
        raise NotExported(
            f"{size:,} bytes with the checksum {digest} came; the manifest says {manifest['bytes']:,} and {manifest['sha256']}"
        )
    rows = _COUNTED[manifest["format"]](place)
    if rows != manifest["rows"]:
        raise NotExported(f"{rows:,} rows came; the manifest says {manifest['rows']:,}")


def _csv_rows(place: Path) -> int:
    with place.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def _parquet_rows(place: Path) -> int:
    # The file has another name until it is known to be whole.
    with place.open("rb") as file:
        return int(pl.scan_parquet(file).select(pl.len()).collect().item())


def _sheet_rows(place: Path) -> int:
    """The last row that the sheet says it has, less its header."""
    last, rest = 1, b""
    with zipfile.ZipFile(place) as book, book.open("xl/worksheets/sheet1.xml") as sheet:
        while piece := sheet.read(_PIECE):
            found = re.findall(rb'<row r="(\d+)"', rest + piece)
            last = int(found[-1]) if found else last
            rest = piece[-20:]
    return last - 1


_COUNTED: dict[str, Callable[[Path], int]] = {"csv": _csv_rows, "parquet": _parquet_rows, "xlsx": _sheet_rows}


def _manifest(base: str, key: str, export: str) -> dict[str, Any]:
    with _opened(base, f"{_PATH}/{export}", key) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _opened(base: str, path: str, key: str, seconds: float = _TIMEOUT_S) -> http.client.HTTPResponse:
    """An answer. Raises NotExported where it is none, OSError where nobody answers."""
    request = urllib.request.Request(base + path, headers={"Authorization": f"Bearer {key}"})  # noqa: S310  (checked)
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=seconds)  # noqa: S310
    except urllib.error.HTTPError as error:
        try:
            reason = str(json.loads(error.read())["detail"])
        except (ValueError, KeyError, TypeError):
            reason = f"the service answered {error.code}"
        raise NotExported(reason) from None
    return answer


def _named(disposition: str, asked: AskedExport) -> str:
    found = re.search(r'filename="([A-Za-z0-9_-]+\.[a-z]+)"', disposition)
    return found[1] if found else f"{asked.rollup}.{asked.format}"


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=console,
    )
