"""What a report is: one value that holds every figure, from which JSON, PDF and Excel are written. It knows no format.

Numbers are integers and decimals, never binary floats: what one format shows is what the others show, to the last digit.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

Kind = Literal["text", "count", "number", "money", "percent", "duration", "date", "time"]
"""What a figure is. `money` has a currency as its unit, `number` any unit or none, `duration` is in seconds; a `time` has a zone."""

Value = str | int | Decimal | dt.datetime | dt.date | None
"""A figure; None is one that nothing gave."""

_TYPES: Mapping[Kind, tuple[type, ...]] = {
    "text": (str,),
    "count": (int,),
    "number": (int, Decimal),
    "money": (int, Decimal),
    "percent": (int, Decimal),
    "duration": (int, Decimal),
    "date": (dt.date,),
    "time": (dt.datetime,),
}
NUMBERS: frozenset[Kind] = frozenset({"count", "number", "money", "percent", "duration"})


class BadReport(ValueError):
    """A report that does not fit together: a row of another length than its header, a value of another kind than its column."""


class TooManyRows(ValueError):
    """More rows than the format should hold; the message says which format does."""


class ReportColumn(msgspec.Struct, frozen=True):
    """A column of a table. `name` is its key in JSON, `title` its header; `unit` is the currency of money, or what a number counts."""

    name: str
    title: str
    kind: Kind = "text"
    unit: str | None = None


class Kpi(msgspec.Struct, frozen=True):
    """One figure that a reader looks for first. `note` says what it is compared with, or over what it was taken."""

    name: str
    title: str
    value: Value
    kind: Kind
    unit: str | None = None
    note: str | None = None


class ReportTable(msgspec.Struct, frozen=True):
    """Rows under a header. `totals` is a last row of its own, one value a column; `note` says what is not in the table."""

    name: str
    title: str
    columns: tuple[ReportColumn, ...]
    rows: Sequence[tuple[Value, ...]]
    totals: tuple[Value, ...] | None = None
    note: str | None = None


class Series(msgspec.Struct, frozen=True):
    """One line, or one colour of bars: a value for each of the chart's labels."""

    title: str
    values: tuple[int | Decimal | None, ...]


class Chart(msgspec.Struct, frozen=True):
    """A picture of figures. Labels are dates along the x axis, or names down the y axis (`bars`). `unit` is that of every value.

    `area`: one line over its filled area; `line`: one or more; `columns`: an upright bar a date; `bars`: a lying bar a name.
    """

    name: str
    title: str
    shape: Literal["area", "line", "columns", "bars"]
    labels: tuple[dt.date, ...] | tuple[str, ...]
    series: tuple[Series, ...]
    unit: str | None = None


class Recommendation(msgspec.Struct, frozen=True):
    """What a stated rule says, and the figure that made it say so. `rule` is its name in docs/reports.md.

    `subject` is the team, host or symbol that it is about; `threshold` is what the value was held against.
    """

    rule: str
    level: Literal["attention", "urgent"]
    text: str
    figure: str
    value: Value
    kind: Kind
    unit: str | None = None
    threshold: int | Decimal | None = None
    subject: str | None = None


class Section(msgspec.Struct, frozen=True):
    """A part of a report. `name` is None for figures of the whole, else what its figures are of, such as a currency."""

    name: str | None
    title: str
    kpis: tuple[Kpi, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[ReportTable, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What an organization's rollups say about the days `first` to `last`, both in it, of the zone `tz`.

    `as_of`: every event accepted up to then is in it. `generated_at` is when it was made. Empty sections mean that nothing was
    sent, never that something failed: a query that fails raises.
    """

    type: str
    title: str
    organization: str
    first: dt.date
    last: dt.date
    tz: str
    as_of: dt.datetime
    generated_at: dt.datetime
    summary: str
    sections: tuple[Section, ...]
    recommendations: tuple[Recommendation, ...] = ()
    footnotes: tuple[str, ...] = ()

    def tables(self) -> Iterator[ReportTable]:
        """Every table, in its order."""
        for section in self.sections:
            yield from section.tables

    def row_count(self) -> int:
        """The rows of all tables."""
        return sum(len(table.rows) for table in self.tables())


def fitting(kind: Kind, value: Value) -> bool:
    """Whether a value is one of that kind. A time is a date to Python, and True a number: not here."""
    if value is None:
        return True
    if isinstance(value, Decimal) and not value.is_finite():
        return False
    if kind == "date":
        return type(value) is dt.date
    if kind == "time":
        return isinstance(value, dt.datetime) and value.tzinfo is not None
    return isinstance(value, _TYPES[kind]) and not isinstance(value, bool)


def check_report(report: Report) -> None:
    """Holds every value against its column. Raises BadReport, which names the table."""
    for section in report.sections:
        names: set[str] = set()
        for kpi in section.kpis:
            if not fitting(kpi.kind, kpi.value) or kpi.name in names:
                raise BadReport(f"{section.title}: {kpi.name} is {kpi.value!r}, or stands twice")
            names.add(kpi.name)
        for chart in section.charts:
            if any(len(series.values) != len(chart.labels) for series in chart.series):
                raise BadReport(f"chart {chart.name}: as many values a series as labels")
        for table in section.tables:
            _check_table(table)


def _check_table(table: ReportTable) -> None:
    kinds = [column.kind for column in table.columns]
    for number, row in enumerate([*table.rows, *([table.totals] if table.totals is not None else [])], start=1):
        if len(row) != len(kinds):
            raise BadReport(f"table {table.name}, row {number}: {len(row)} values under {len(kinds)} columns")
        for column, value in zip(table.columns, row, strict=True):
            # The first cell of the totals says what they are, whatever the column holds.
            if not fitting(column.kind, value) and not (row is table.totals and isinstance(value, str)):
                raise BadReport(f"table {table.name}, row {number}: {column.name} is {value!r}, no {column.kind}")
