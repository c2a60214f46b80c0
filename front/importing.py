"""`streamgauge import`: a file, a progress bar, a summary."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random

from rich.console import Console
from rich.markup import escape

from front.parts import CREDENTIALS
from front.settings import InvalidSetting, Settings
from ingest.collectors.client import Client, CollectorError
from ingest.collectors.importers import BadMapping, FileFault, Summary, import_file, parse_mapping
from ingest.collectors.progress import ImportProgress, show_summary

_GOES_ON = "Start the same command again: it goes on where it was, and no row counts twice."


def import_command(
    settings: Settings,
    file: Path,
    fmt: str,
    options: list[str],
    kind: str | None,
    url: str | None,
    api_key: str | None,
    write_rejected: bool,
    console: Console,
) -> int:
    """Imports and prints a summary.

    Returns 0, also where rows were rejected; 1 where the import could not end; 2 for a wrong call; 130 when interrupted.
    """
    try:
        mapping = parse_mapping(options)
        address, key = _target(settings, url, api_key)
        summary = asyncio.run(_import(file, fmt, mapping, kind, address, key, write_rejected, console))
    except (BadMapping, FileFault) as error:
        console.print(f"[bold red]error[/] {escape(str(error))}")
        return 2
    except CollectorError as error:
        console.print(f"[bold red]error[/] {escape(str(error))}\n{_GOES_ON}")
        return 1
    except KeyboardInterrupt:
        console.print(f"interrupted. {_GOES_ON}")
        return 130
    show_summary(console, file.name, summary)
    return 0


def _target(settings: Settings, url: str | None, api_key: str | None) -> tuple[str, str]:
    """Where to send to, and the key: as given, else from credentials.json."""
    if url and api_key:
        return url, api_key
    path = settings.data / CREDENTIALS
    try:
        known = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InvalidSetting(
            f"{path}: is not there; start the service first (streamgauge run), or give --url and --api-key"
        ) from None
    return url or known["url"], api_key or known["api_key"]


async def _import(
    file: Path,
    fmt: str,
    mapping: dict[str, str],
    kind: str | None,
    url: str,
    key: str,
    write_rejected: bool,
    console: Console,
) -> Summary:
    random = Random()  # noqa: S311  (spreads retries, nothing secret)
    with ImportProgress(console, file.name) as progress:
        async with Client(url, key, random=random) as client:
            return await import_file(
                file,
                fmt,
                client=client,
                mapping=mapping,
                kind=kind,
                on_progress=progress,
                write_rejected=write_rejected,
            )
