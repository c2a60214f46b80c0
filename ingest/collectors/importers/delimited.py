"""Delimited text with a header: rows as named texts, for the formats that are CSV underneath."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from ingest.collectors.importers.lines import Lines, LineTooLong
from ingest.collectors.importers.row import FileFault, Job, Row

_DELIMITERS = ",;\t|"


def header(lines: Lines, job: Job) -> tuple[list[str], str]:
    """Reads the first line that is not blank: the columns' names, and the delimiter that occurs most often in it."""
    try:
        first = next((line for line in lines if line.strip()), None)
    except LineTooLong as error:
        raise FileFault(f"{job.path}: line {lines.number}: {error}") from None
    if first is None:
        raise FileFault(f"{job.path}: is empty")
    delimiter = max(_DELIMITERS, key=first.count)
    names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter))]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise FileFault(f"{job.path}: line {lines.number}: the header names {', '.join(twice)} more than once")
    return names, delimiter


def records(lines: Lines, names: list[str], delimiter: str) -> Iterator[Row]:
    """Yields the rows behind the header; blank lines are passed over and not counted. `fields` is the list of a row's texts."""
    # csv wants the line ends, which a quoted text may hold.
    reader = csv.reader(_LineEnds(lines), delimiter=delimiter)
    number = 0
    while True:
        lines.begin()
        problem = None
        fields: list[str] = []
        try:
            fields = next(reader)
        except StopIteration:
            return
        except (csv.Error, LineTooLong) as error:
            problem = str(error)
        if not fields and problem is None:
            continue
        number += 1
        if problem is None and len(fields) != len(names):
            problem = f"has {len(fields)} columns, the header {len(names)}"
        yield Row(number, lines.first, lines.text, fields, problem)


class _LineEnds:
    """Gives the lines their ends back, and goes on after an exception, which a generator would not."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._lines) + "\n"
