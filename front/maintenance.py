"""`streamgauge verify` and `streamgauge rebuild`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from aggregators.definitions import BY_NAME, ROLLUPS
from aggregators.rollup import Rollup
from front.database import database_url
from front.raw_archive import raw_archive
from front.settings import InvalidSetting, Settings, variable
from storage.archive import ArchiveUnavailable
from storage.raw_days import RawEventsGone
from storage.recompute import Difference, rebuild, verify
from storage.recompute import Progress as Report

SHOWN = 100
"""Differences that are printed one by one; all are counted."""


def verify_command(
    settings: Settings, start: dt.datetime | None, end: dt.datetime | None, names: list[str], console: Console
) -> int:
    """Prints every difference; returns 0 where there is none, else 1."""
    found, chosen = 0, _chosen(names)
    with _gone_is_told(), database_url(settings) as url, _progress(console, "verify", chosen) as report:
        for difference in verify(settings.jobs_database_url or url, chosen, start, end, report, raw_archive(settings)):
            found += 1
            if found <= SHOWN:
                _print(difference)
    if found > SHOWN:
        print(f"… and {found - SHOWN} more")
    print(
        f"{found} difference{'' if found == 1 else 's'}"
        if found
        else "no differences: every rollup equals its recomputation"
    )
    return 1 if found else 0


def rebuild_command(
    settings: Settings, start: dt.datetime | None, end: dt.datetime | None, names: list[str], console: Console
) -> int:
    """Rebuilds and tells how much; returns 0."""
    chosen = _chosen(names)
    with _gone_is_told(), database_url(settings) as url, _progress(console, "rebuild", chosen) as report:
        done = rebuild(settings.jobs_database_url or url, chosen, start, end, report, raw_archive(settings))
    print(f"rebuilt {done} rollup day{'' if done == 1 else 's'}")
    return 0


@contextmanager
def _gone_is_told() -> Iterator[None]:
    """A range that cannot be recomputed is the user's to change, and so is an archive that cannot be read."""
    try:
        yield
    except RawEventsGone as error:
        raise InvalidSetting(f"--from: {error}") from error
    except ArchiveUnavailable as error:
        raise InvalidSetting(f"{variable('archive')}: {error}") from error


def _chosen(names: list[str]) -> list[Rollup]:
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise InvalidSetting(f"--rollup: {unknown[0]!r} is none; known are {', '.join(BY_NAME)}")
    return [BY_NAME[name] for name in names] or list(ROLLUPS)


def _print(difference: Difference) -> None:
    keys = " ".join(f"{key}={value}" for key, value in difference.keys.items())
    if difference.stored is None:
        print(f"{difference.table}: missing: {keys}")
    elif difference.recomputed is None:
        print(f"{difference.table}: not in the raw events: {keys}")
    else:
        for name, value in difference.recomputed.items():
            print(f"{difference.table}: {name} is {difference.stored.get(name)}, should be {value}: {keys}")


@contextmanager
def _progress(console: Console, what: str, rollups: Sequence[Rollup]) -> Iterator[Report]:
    """A bar for each of the rollups."""
    with Progress(
        TextColumn(what),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days"),
        TimeRemainingColumn(),
        console=console,
    ) as bar:
        tasks = {rollup.name: bar.add_task(rollup.name, total=None) for rollup in rollups}

        def report(name: str, done: int, total: int) -> None:
            bar.update(tasks[name], completed=done, total=total)

        yield report
