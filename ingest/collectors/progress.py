"""An import as the command line shows it: a bar with rows, rate and time left, and the summary at its end."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from ingest.collectors.importers.run import Summary


class _Rate(ProgressColumn):
    """Rows a second over the last moments."""

    def render(self, task: Task) -> Text:
        """The rate, or what is done before the first row."""
        if task.fields["checking"]:
            return Text("checking the file", style="progress.remaining")
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} rows/s" if speed else "– rows/s", style="progress.data.speed")


class _Rows(ProgressColumn):
    """Rows done of rows in all; while the file is looked through, megabytes."""

    def render(self, task: Task) -> Text:
        """The two numbers."""
        if task.fields["checking"]:
            return Text(f"{task.completed / 1e6:,.0f}/{(task.total or 0) / 1e6:,.0f} MB")
        return Text(f"{task.completed:,.0f}/{task.total or 0:,.0f} rows")


class ImportProgress:
    """The bar of one import: a context manager to be called as `on_progress` of `import_file`."""

    def __init__(self, console: Console, name: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Rows(table_column=Column(no_wrap=True)),
            _Rate(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(),
            console=console,
        )
        self._name = name
        self._task = self._progress.add_task(name, total=None, checking=True)
        self._checking = True

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, rows_done: int, rows_total: int | None, bytes_done: int, bytes_total: int) -> None:
        """Moves the bar."""
        if rows_total is None:
            self._progress.update(self._task, completed=bytes_done, total=bytes_total)
            return
        if self._checking:
            # A bar of its own for the rows, so that the speed of looking through the file does not colour theirs.
            self._checking = False
            self._progress.remove_task(self._task)
            self._task = self._progress.add_task(self._name, total=rows_total, checking=False)
        self._progress.update(self._task, completed=rows_done, total=rows_total)


def show_summary(console: Console, name: str, summary: Summary) -> None:
    """Prints what became of a file's rows, the first rejected ones with their reasons, and what was done to values on the way."""
    rate = f", {summary.rows / summary.seconds:,.0f} rows/s" if summary.seconds > 0 else ""
    counts = Table(box=None, show_header=False, pad_edge=False)
    counts.add_column(justify="right")
    counts.add_column()
    counts.add_row(f"{summary.rows:,}", f"rows in {summary.seconds:,.1f} s{rate}")
    counts.add_row(f"{summary.accepted:,}", "accepted")
    counts.add_row(f"{summary.skipped:,}", "skipped: an earlier import dealt with them, whatever its mapping")
    counts.add_row(f"{summary.rejected:,}", "rejected")
    console.print(Text(name, style="bold"))
    console.print(counts)
    for note, count in sorted(summary.notes.items()):
        console.print(Text(f"Note: {note}, in {count:,} rows."))
    for one in summary.reasons:
        console.print(Text(f"  line {one.line}: {one.error}", style="yellow"))
    if summary.rejected > len(summary.reasons):
        console.print(Text(f"  … and {summary.rejected - len(summary.reasons):,} more"))
    if summary.rejected_file is not None:
        console.print(Text(f"All rejected rows are in {summary.rejected_file}"))
