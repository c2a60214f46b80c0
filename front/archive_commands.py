"""`streamgauge archive`: what the archive holds, whether its files are whole, and archiving now."""

from __future__ import annotations

import datetime as dt
import json

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from front.database import database_url
from front.raw_archive import raw_archive
from front.settings import InvalidSetting, Settings, variable
from storage.archive_books import ArchivedDay, archive_days_held, archive_problems
from storage.archive_write import archive_days
from storage.database import StorageUnavailable


def archive_list_command(settings: Settings, as_json: bool, console: Console) -> int:
    """Prints the days in the archive, the oldest first; returns 0, or 1 where the database is away."""
    try:
        with database_url(settings) as url:
            days = archive_days_held(settings.jobs_database_url or url)
    except StorageUnavailable as error:
        return _failed(console, error)
    if as_json:
        for day in days:
            print(json.dumps({**day.__dict__, "dropped": day.dropped_rows == day.rows}, default=str))
        return 0
    table = Table("day", "kind", "rows", "files", "bytes", "in the raw table")
    for day in days:
        table.add_row(day.day.isoformat(), day.kind, f"{day.rows:,}", f"{day.files:,}", f"{day.bytes:,}", _where(day))
    Console(highlight=False).print(table)
    console.print(
        f"{len(days)} days of a kind, {sum(day.rows for day in days):,} rows, {sum(day.bytes for day in days):,} bytes"
    )
    return 0


def _where(day: ArchivedDay) -> str:
    if day.dropped_rows == day.rows:
        return "dropped"
    return "yes" if not day.dropped_rows else f"{day.rows - day.dropped_rows:,} late rows"


def archive_verify_command(settings: Settings, console: Console) -> int:
    """Reads every file and prints what is wrong; returns 0 where all are whole, else 1."""
    archive, files, wrong = raw_archive(settings), 0, 0
    try:
        with database_url(settings) as url, Progress(*_COLUMNS, console=console, transient=True) as bar:
            task = bar.add_task("archive verify", total=None)
            for file, problem in archive_problems(settings.jobs_database_url or url, archive):
                files += 1
                bar.update(task, description=f"{file.kind} {file.day.isoformat()}", completed=files)
                if problem is not None:
                    wrong += 1
                    print(problem)
    except StorageUnavailable as error:
        return _failed(console, error)
    print(f"{files} file{'' if files == 1 else 's'}, {wrong or 'none'} damaged or missing")
    return 1 if wrong else 0


def archive_run_command(settings: Settings, older_than: int | None, console: Console) -> int:
    """Archives what is older than so many days, and drops nothing; returns 0, or 1 where something could not be archived."""
    days = settings.retention_days if older_than is None else older_than
    if days is None:
        raise InvalidSetting(f"--older-than: is needed, as {variable('retention_days')} is not set")
    before = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=days)
    try:
        with database_url(settings) as url, Progress(*_COLUMNS[:2], TimeElapsedColumn(), console=console) as bar:
            task = bar.add_task("archive run", total=None)
            found = archive_days(
                settings.jobs_database_url or url,
                raw_archive(settings),
                before,
                progress=lambda what: bar.update(task, description=what),
            )
    except StorageUnavailable as error:
        return _failed(console, error)
    if found.elsewhere:
        print("another process archives now")
        return 0
    print(f"archived {found.rows:,} rows of {found.days} days of a kind, before {before.isoformat()}")
    if found.problem is not None:
        console.print(f"[bold red]error[/] {escape(found.problem)}; {len(found.waiting)} days of a kind wait")
        return 1
    return 0


_COLUMNS = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())


def _failed(console: Console, error: StorageUnavailable) -> int:
    console.print(f"[bold red]error[/] {escape(str(error))}")
    return 1
