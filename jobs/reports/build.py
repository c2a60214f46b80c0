"""A report of a type, from an organization's rollups: one snapshot, one `as_of`, and nothing made up where a query fails."""

from __future__ import annotations

import datetime as dt
from typing import Literal, get_args
from uuid import UUID

from jobs.reports.billing import billing
from jobs.reports.creators import MAX_CREATORS, leaderboard_report
from jobs.reports.operations import operations
from jobs.reports.parameters import BadParameters, ReportParameters, resolved
from jobs.reports.performance import performance_report
from jobs.reports.pnl import pnl_statement
from jobs.reports.reading import Source, made_report
from jobs.reports.report import Report
from jobs.reports.sections import Made
from jobs.reports.team import team
from jobs.reports.usage import usage
from storage.archive import Archive
from storage.database import Database
from storage.feed import watermark
from storage.leaderboard import standings
from storage.organizations import organization_name

ReportType = Literal["performance", "usage", "billing", "team", "pnl", "leaderboard", "operations"]
REPORT_TYPES: tuple[ReportType, ...] = get_args(ReportType)

_KINDS: dict[ReportType, tuple[str, ...]] = {
    "performance": ("system", "enterprise"),
    "usage": ("system", "enterprise", "trade", "view"),
    "billing": ("system", "enterprise", "trade", "view"),
    "team": ("enterprise",),
    "pnl": ("trade",),
    "leaderboard": ("view",),
    "operations": ("system",),
}
"""The events that each is made of: how fresh it is depends on nothing else."""


async def build(
    kind: ReportType,
    database: Database,
    organization: UUID,
    parameters: ReportParameters,
    now: dt.datetime,
    archive: Archive | None = None,
) -> Report:
    """The report of an organization's days. Sections are empty where nothing was sent.

    Raises BadParameters, and whatever reading raises (NotFilled, QueryTooSlow, StorageUnavailable, ArchiveDamaged): a report that could
    not be read is none.
    """
    if kind not in REPORT_TYPES:
        raise BadParameters("report_type", f"{str(kind)[:64]!r} is none; known are {', '.join(REPORT_TYPES)}")
    # The standings are a view of their own, refreshed behind the events: they may be older than the rest, never newer than they say.
    board = await standings(database, organization, "all", limit=MAX_CREATORS) if kind == "leaderboard" else None
    async with database.read(organization) as connection:
        mark = await watermark(connection, *_KINDS[kind])
        source = Source(connection, resolved(parameters, mark.time_zone, now), archive)
        made: Made
        if kind == "pnl":
            made = await pnl_statement(source, parameters)
        elif board is not None:
            made = await leaderboard_report(source, board)
        else:
            made = await _OF_LEVELS[kind](source)
        name = await organization_name(connection)
    as_of = mark.as_of if board is None else min(mark.as_of, board.as_of)
    return made_report(
        source,
        kind=kind,
        title=made.title,
        organization=name,
        as_of=as_of,
        summary=made.summary,
        sections=made.sections,
        footnotes=made.footnotes,
        recommendations=made.recommendations,
    )


_OF_LEVELS = {
    "performance": performance_report,
    "usage": usage,
    "billing": billing,
    "team": team,
    "operations": operations,
}
