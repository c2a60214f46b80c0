"""Reports drawn by hypothesis: any figure and any name that an event may carry, several currencies, tables with and without rows."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from jobs.reports.report import Chart, Kind, Kpi, Report, ReportColumn, ReportTable, Section, Series

HOSTILE = (
    *(
        "<b>bold</b>",
        "&amp;",
        "<script>alert(1)</script>",
        "#strong[x]",
        "*x*",
        "_y_",
        "$ x^2 $",
        "= Title",
        "@label",
        "\\",
    ),
    *(
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        '=HYPERLINK("http://x")',
        "'quoted'",
        '"',
        "http://example.com",
        "_x0041_",
        "1e5",
        "007",
    ),
    *(
        "Ωμέγα",
        "Привет",
        "Žluťoučký",
        "Å",
        "a  b",
        "{{x}}",
        "`code`",
        "// no comment",
        "/* nor */",
        "~",
        "<https://x.y>",
    ),
)
"""Names that some format would take for more than a name."""

FIRST = dt.date(2026, 1, 1)
NOW = dt.datetime(2026, 3, 1, 12, 0, 5, tzinfo=dt.UTC)

_letters = st.characters(codec="cp1252", categories=("L", "N", "P"))
texts = st.one_of(st.sampled_from(HOSTILE), st.text(_letters, min_size=1, max_size=24))
amounts = st.one_of(
    st.integers(-(10**9), 10**9).map(lambda n: Decimal(n).scaleb(-2)),
    st.tuples(st.integers(-(10**36), 10**36), st.integers(0, 18)).map(lambda pair: Decimal(pair[0]).scaleb(-pair[1])),
)
_VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    "text": texts,
    "count": st.integers(0, 10**15),
    "number": amounts,
    "money": amounts,
    "percent": st.integers(-(10**6), 10**6).map(lambda n: Decimal(n).scaleb(-2)),
    "duration": st.integers(0, 10**7),
    "date": st.integers(0, 3_000).map(lambda n: FIRST + dt.timedelta(days=n)),
    "time": st.integers(0, 10**8).map(lambda n: NOW + dt.timedelta(seconds=n)),
}
_UNITS: dict[Kind, tuple[str | None, ...]] = {"money": ("USD", "JPY", "BTC", "KWD"), "number": (None, "ms", "kg CO2")}


@st.composite
def columns(draw: st.DrawFn) -> tuple[ReportColumn, ...]:
    """One to six columns of any kind."""
    kinds = draw(st.lists(st.sampled_from(sorted(_VALUES)), min_size=1, max_size=6))
    return tuple(
        ReportColumn(f"c{n}", f"Column {n}", kind, draw(st.sampled_from(_UNITS.get(kind, (None,)))))
        for n, kind in enumerate(kinds)
    )


@st.composite
def tables(draw: st.DrawFn, number: int) -> ReportTable:
    """A table with up to eight rows, totals or none; a figure may be missing anywhere."""
    found = draw(columns())
    row = st.tuples(*(st.one_of(st.none(), _VALUES[column.kind]) for column in found))
    rows = draw(st.lists(row, max_size=8))
    totals = draw(st.one_of(st.none(), row)) if rows else None
    return ReportTable(f"t{number}", f"Table {number}", found, rows, totals)


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """A report of one to three parts with figures and tables; charts have points of their own."""
    sections = []
    for number in range(draw(st.integers(1, 3))):
        kinds = draw(st.lists(st.sampled_from(sorted(set(_VALUES) - {"text"})), max_size=5))
        kpis = tuple(
            Kpi(f"k{n}", f"Figure {n}", draw(st.one_of(st.none(), _VALUES[kind])), kind, *_UNITS.get(kind, (None,))[:1])
            for n, kind in enumerate(kinds)
        )
        listed = tuple(draw(tables(10 * number + n)) for n in range(draw(st.integers(0, 2))))
        sections.append(Section(None if number == 0 else f"P{number}", f"Part {number}", kpis, (), listed))
    return report(tuple(sections), title=draw(texts), organization=draw(texts))


def report(sections: tuple[Section, ...] = (), **changes: Any) -> Report:
    """A report of these parts."""
    given = {
        "type": "pnl",
        "title": "P&L statement",
        "organization": "Example & Søns <AS>",
        "first": FIRST,
        "last": dt.date(2026, 2, 22),
        "tz": "Europe/Berlin",
        "as_of": NOW,
        "generated_at": NOW,
        "summary": "Nothing to say.",
        "sections": sections,
    }
    return Report(**given | changes)


def listing(rows: int, *, name: str = "daily") -> ReportTable:
    """A table of days and exact amounts with totals that are their sum."""
    filled = [(FIRST + dt.timedelta(days=n), n, Decimal(n * 37 - 500).scaleb(-2), f"name {n}") for n in range(rows)]
    found = (
        ReportColumn("date", "Day", "date"),
        ReportColumn("trades", "Trades", "count"),
        ReportColumn("net", "Net", "money", "USD"),
        ReportColumn("name", "Name"),
    )
    total = sum((row[2] for row in filled), Decimal(0))
    return ReportTable(name, "By day", found, filled, ("Total", sum(range(rows)), total, None))


def drawn_charts() -> tuple[Chart, ...]:
    """A chart of every shape, with gaps, a name that looks like markup, and one without any figure."""
    days = tuple(FIRST + dt.timedelta(days=n) for n in range(40))
    values = tuple(None if n % 7 == 3 else Decimal(n * n - 300) for n in range(40))
    names = ("EURUSD", "<b>x</b>", "Ωμέγα")
    return (
        Chart("equity", "Equity", "area", days, (Series("Equity", values),), "USD"),
        Chart("both", "Two lines", "line", days, (Series("a", values), Series("b", values[::-1])), "ms"),
        Chart("net", "Net", "columns", days, (Series("Net", values),), "USD"),
        Chart("names", "By name", "bars", names, (Series("Net", (Decimal(3), Decimal(-2), Decimal(1))),), "USD"),
        Chart("none", "Nothing", "line", days, (Series("a", (None,) * 40),)),
    )
