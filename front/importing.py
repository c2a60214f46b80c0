"""`streamgauge import`: a file, a progress bar, a summary."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

from rich.console import Console
from rich.markup import escape

from front.settings import Settings
from front.targets import Target, opened
from ingest.collectors.client import CollectorError
from ingest.collectors.importers import BadMapping, FileFault, Summary, import_file, parse_mapping
from ingest.collectors.progress import ImportProgress, show_summary
from ingest.log import Unavailable
from storage.database import StorageUnavailable

_GOES_ON = "Start the same command again: it goes on where it was, and no row counts twice."


def import_command(
    settings: Settings,
    file: Path,
    fmt: str,
    options: list[str],
    kind: str | None,
    target: Target,
    write_rejected: bool,
    console: Console,
) -> int:
    """Imports and prints a summary.

    Returns 0, also where rows were rejected; 1 where the import could not end; 2 for a wrong call; 130 when interrupted.
    """
    try:
        mapping = parse_mapping(options)
        summary = asyncio.run(_import(settings, file, fmt, mapping, kind, target, write_rejected, console))
    except (BadMapping, FileFault) as error:
        console.print(f"[bold red]error[/] {escape(str(error))}")
        return 2
    except (CollectorError, Unavailable, StorageUnavailable) as error:
        console.print(f"[bold red]error[/] {escape(str(error))}\n{_GOES_ON}")
        return 1
    except KeyboardInterrupt:
        console.print(f"interrupted. {_GOES_ON}")
        return 130
    show_summary(console, file.name, summary)
    return 0


async def _import(
    settings: Settings,
    file: Path,
    fmt: str,
    mapping: dict[str, str],
    kind: str | None,
    target: Target,
    write_rejected: bool,
    console: Console,
) -> Summary:
    random = Random()  # noqa: S311  (spreads retries, nothing secret)
    with ImportProgress(console, file.name) as progress:
        async with opened(settings, target, random) as client:
            return await import_file(
                file,
                fmt,
                client=client,
                mapping=mapping,
                kind=kind,
                on_progress=progress,
                write_rejected=write_rejected,
            )
