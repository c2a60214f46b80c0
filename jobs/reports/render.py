"""A report in a format: the one place that lists the encoders, and how a report travels to the process that runs one."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

import msgspec

from jobs.reports.encode_json import to_json
from jobs.reports.report import Report, ReportTable

Format = Literal["json", "pdf", "excel"]
FORMATS: tuple[Format, ...] = get_args(Format)

CONTENT_TYPES: dict[Format, str] = {
    "json": "application/json",
    "pdf": "application/pdf",
    "excel": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
ENDINGS: dict[Format, str] = {"json": "json", "pdf": "pdf", "excel": "xlsx"}
"""What a file of the format is called behind its point."""

ROWS_AT_ONCE = 200
"""Rows that are packed in one go: some milliseconds, in which the event loop of whoever asks stands still."""


def render(
    report: Report, form: Format, fonts: tuple[str, ...] = (), tell: Callable[[float], None] | None = None
) -> bytes:
    """The report in a format, in this process. `fonts` are folders with more fonts for the PDF.

    `tell` is told which part is done, 0 to 1, of a workbook alone: of the others nobody knows. Raises BadReport, TooManyRows, MissingGlyph.
    """
    if form == "json":
        return to_json(report)
    # Typst, Vega and XlsxWriter are loaded where they are used: a process that only asks for reports stays as small as it was.
    if form == "pdf":
        from jobs.reports.pdf import to_pdf

        return to_pdf(report, fonts)
    from jobs.reports.excel import to_excel

    return to_excel(report, tell)


def packed(report: Report) -> Iterator[bytes]:
    """The report in pieces for another process, none of which takes long to make: first all but the rows, then the rows."""
    tables = list(report.tables())
    bare = [
        msgspec.structs.replace(
            section, tables=tuple(msgspec.structs.replace(table, rows=()) for table in section.tables)
        )
        for section in report.sections
    ]
    yield pickle.dumps(msgspec.structs.replace(report, sections=tuple(bare)))
    for number, table in enumerate(tables):
        for at in range(0, len(table.rows), ROWS_AT_ONCE):
            yield pickle.dumps((number, table.rows[at : at + ROWS_AT_ONCE]))


def unpacked(pieces: Sequence[bytes]) -> Report:
    """The report that was packed."""
    report: Report = pickle.loads(pieces[0])  # noqa: S301 - made by `packed` in the process that started this one
    rows: list[list[tuple[object, ...]]] = [[] for _ in report.tables()]
    for piece in pieces[1:]:
        number, some = pickle.loads(piece)  # noqa: S301
        rows[number] += some
    filled = iter(rows)
    return msgspec.structs.replace(
        report,
        sections=tuple(
            msgspec.structs.replace(section, tables=tuple(_with(table, next(filled)) for table in section.tables))
            for section in report.sections
        ),
    )


def _with(table: ReportTable, rows: list[tuple[object, ...]]) -> ReportTable:
    return msgspec.structs.replace(table, rows=rows)
