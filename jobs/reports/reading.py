"""What builders read: rollups over the days of a report, or over as many days before them, as exact numbers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from aggregators.rollup import Rollup
from ingest.events import enterprise, system
from jobs.reports.figures import placed
from jobs.reports.parameters import BadParameters, Span
from jobs.reports.report import Kind, Report, Section
from storage.archive import Archive
from storage.database import AsyncConn
from storage.rollup_query import Question, ask, plain_number
from storage.rollup_ranking import Ranked, Ranking, ask_ranked

MAX_ROWS = 100_000
WHOLE = {"team_type": ("",)}
"""The figures of the whole organization: those reported without a team."""

Number = int | Decimal
_SMALL = Decimal("0.01")
_ABBREVIATIONS = {"cpu": "CPU", "gpu": "GPU", "api": "API", "io": "I/O"}


@dataclass(frozen=True)
class Source:
    """A read transaction of one organization, the days of the report, and where raw events are that were dropped."""

    connection: AsyncConn
    span: Span
    archive: Archive | None = None

    async def rows(
        self,
        rollup: Rollup,
        measures: tuple[str, ...],
        group_by: tuple[str, ...] = (),
        *,
        grain: str | None = None,
        filters: Mapping[str, tuple[str, ...]] | None = None,
        before: bool = False,
    ) -> list[list[Any]]:
        """All rows of a question about the days, or about those before them. Raises BadParameters where they are too many."""
        found = await ask(self.connection, self._question(rollup, measures, group_by, grain, filters, before, MAX_ROWS))
        if found.more:
            raise BadParameters("first", f"this gives more than {MAX_ROWS:,} rows: ask for fewer days")
        return found.rows

    async def best(
        self,
        rollup: Rollup,
        measures: tuple[str, ...],
        group_by: tuple[str, ...],
        by: str,
        limit: int,
        filters: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Ranked:
        """The groups with the greatest figure, and how many groups there are."""
        asked = self._question(rollup, measures, group_by, None, filters, False, limit)
        return await ask_ranked(self.connection, asked, Ranking(by))

    def _question(
        self,
        rollup: Rollup,
        measures: tuple[str, ...],
        group_by: tuple[str, ...],
        grain: str | None,
        filters: Mapping[str, tuple[str, ...]] | None,
        before: bool,
        limit: int,
    ) -> Question:
        start, end = (self.span.before, self.span.start) if before else (self.span.start, self.span.end)
        return Question(
            rollup, measures, start, end, grain, self.span.tz, group_by, filters=dict(filters or {}), limit=limit
        )


def as_measured(value: float | Number | None) -> Number | None:
    """A measured figure as a decimal with two places, six where two would show nothing: what was measured has no more to say."""
    if value is None:
        return None
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return plain_number(placed(exact, 6 if exact.copy_abs() < _SMALL else 2))  # type: ignore[no-any-return]


def titled(metric: str) -> str:
    """A metric's name as people write it."""
    words = " ".join(_ABBREVIATIONS.get(word, word) for word in metric.split("_"))
    return words[:1].upper() + words[1:]


def unit_of(metric: str, *, of_hosts: bool) -> str | None:
    """The unit of a metric that is known by name; an organization's money is in a currency that its events do not name."""
    unit = (system.UNITS if of_hosts else enterprise.UNITS).get(metric)
    return None if unit == "currency" else unit


def shown_as(unit: str | None) -> tuple[Kind, str | None]:
    """How a figure of that unit is shown, and the unit that stands with it."""
    return ("percent", None) if unit == "%" else ("number", unit)


def made_report(
    source: Source,
    *,
    kind: str,
    title: str,
    organization: str,
    as_of: dt.datetime,
    summary: str,
    sections: tuple[Section, ...],
    footnotes: tuple[str, ...] = (),
    recommendations: tuple[Any, ...] = (),
) -> Report:
    """The report of a source's days."""
    span = source.span
    return Report(
        type=kind,
        title=title,
        organization=organization,
        first=span.first,
        last=span.last,
        tz=span.tz.key,
        as_of=as_of,
        generated_at=span.now,
        summary=summary,
        sections=sections,
        recommendations=recommendations,
        footnotes=(f"Days are those of {span.tz.key}; a day is 23 or 25 hours long when clocks change.", *footnotes),
    )
