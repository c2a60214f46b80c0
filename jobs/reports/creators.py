"""The report of the video feed: the creators' leaderboard, and what their videos got in the period."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from aggregators.definitions.view import VIDEO_ENGAGEMENT
from aggregators.statistics import rounded_share
from jobs.reports.figures import placed
from jobs.reports.reading import Source, as_measured
from jobs.reports.recommendations import beyond_limit, changed, got_worse, most_urgent_first
from jobs.reports.report import Chart, Kpi, Recommendation, ReportColumn, ReportTable, Section, Series
from jobs.reports.sections import Made
from storage.leaderboard import Standings

MAX_CREATORS = 100
_DRAWN = 15
_MIN_REACTIONS = 20
_MEASURES = ("views", "likes", "dislikes", "shares", "completes", "watch_ms", "completion_rate", "average_watch")


async def leaderboard_report(source: Source, standings: Standings) -> Made:
    """Reads and builds it. The standings are of all time; everything else is of the period."""
    best = await source.best(VIDEO_ENGAGEMENT, _MEASURES, ("creator_id",), "views", MAX_CREATORS)
    totals = (await source.rows(VIDEO_ENGAGEMENT, (*_MEASURES, "viewers")) or [[None] * (len(_MEASURES) + 1)])[0]
    views, likes, dislikes, *_ = (value or 0 for value in totals)
    ((before,),) = await source.rows(VIDEO_ENGAGEMENT, ("views",), before=True) or [[None]]
    days = source.span.days()
    by_day = dict(await source.rows(VIDEO_ENGAGEMENT, ("views",), grain="1d"))
    names = tuple(row["creator_id"] for row in standings.creators[:_DRAWN])
    scores = tuple(_score(row) for row in standings.creators)
    charts = (
        Chart("scores", "Best scores", "bars", names, (Series("Score", scores[:_DRAWN]),)),
        Chart(
            "views",
            "Views by day",
            "columns",
            tuple(source.span.date(day) for day in days),
            (Series("Views", tuple(by_day.get(day, 0) for day in days)),),
        ),
    )
    change = changed(views, before) if before and source.span.over else None
    note = None if change is None else f"{'+' if change > 0 else ''}{change} % against before".replace("-", "−")
    kpis = (
        Kpi("views", "Views", views, "count", None, note),
        Kpi("viewers", "Viewers", totals[-1] or 0, "count", None, "standard error 1.6 %"),
        Kpi("likes", "Likes given", likes, "count"),
        Kpi("dislikes", "Dislikes given", dislikes, "count"),
        Kpi("completion_rate", "Completion rate", as_measured(totals[6]), "percent"),
        Kpi("creators", "Creators with views", best.count, "count"),
    )
    return Made(
        "Creator leaderboard",
        f"{views:,} views of the videos of {best.count:,} creators in this period."
        if best.rows
        else "No video was viewed in this period.",
        (
            Section(None, "Overview", kpis, charts),
            Section("details", "Details", tables=(_standings(standings, scores), _engagement(best, totals))),
        ),
        most_urgent_first(_advice(best.rows, views, likes, dislikes, before if source.span.over else None)),
        (
            "Standings are of all time: score = 100 · W(likes, dislikes) · log10(10 + views), W the lower bound of the 95 % Wilson"
            " interval; ties: more likes, then the smaller creator id.",
            "Likes and dislikes of the standings are today's reactions; those of the period were given in it.",
        ),
    )


def _score(row: dict[str, Any]) -> Decimal:
    return placed(Decimal(repr(row["score"])), 2)


def _standings(standings: Standings, scores: tuple[Decimal, ...]) -> ReportTable:
    columns = (
        ReportColumn("rank", "Rank", "count"),
        ReportColumn("creator_id", "Creator"),
        ReportColumn("score", "Score", "number"),
        ReportColumn("views", "Views", "count"),
        ReportColumn("videos", "Videos", "count"),
        ReportColumn("likes", "Likes", "count"),
        ReportColumn("dislikes", "Dislikes", "count"),
        ReportColumn("last_active_at", "Last active", "time"),
    )
    rows = [
        (
            row["rank"],
            row["creator_id"],
            score,
            row["views"],
            row["videos"],
            row["likes"],
            row["dislikes"],
            row["last_active_at"],
        )
        for row, score in zip(standings.creators, scores, strict=True)
    ]
    return ReportTable("standings", "Standings", columns, rows, note=f"The best {MAX_CREATORS} at most, of all time.")


def _engagement(best: Any, totals: list[Any]) -> ReportTable:
    columns = (
        ReportColumn("creator_id", "Creator"),
        ReportColumn("views", "Views", "count"),
        ReportColumn("likes", "Likes", "count"),
        ReportColumn("dislikes", "Dislikes", "count"),
        ReportColumn("shares", "Shares", "count"),
        ReportColumn("completes", "Completes", "count"),
        ReportColumn("watched", "Watched", "duration"),
        ReportColumn("completion_rate", "Completion", "percent"),
    )
    rows = [(row[0], *_shown(row[1:])) for row in best.rows]
    note = (
        f"The {len(rows)} most viewed of {best.count:,} creators; the total is of all."
        if best.count > len(rows)
        else None
    )
    return ReportTable(
        "engagement", "What the period brought", columns, rows, ("Total", *_shown(totals)) if rows else None, note
    )


def _shown(values: list[Any]) -> tuple[Any, ...]:
    views, likes, dislikes, shares, completes, watch_ms, completion, *_ = values
    watched = None if watch_ms is None else round(Decimal(watch_ms) / 1000)
    return views, likes, dislikes, shares, completes, watched, as_measured(completion)


def _advice(rows: list[list[Any]], views: int, likes: int, dislikes: int, before: int | None) -> list[Recommendation]:
    found = got_worse("views", "Views", views, before)
    if len(rows) > 1 and views:
        top = rounded_share(max(row[1] for row in rows), views)
        found += beyond_limit(
            "view_concentration", "Share of views of one creator", as_measured(top), "percent", subject=rows[0][0]
        )
    if likes + dislikes >= _MIN_REACTIONS:
        share = rounded_share(dislikes, likes + dislikes)
        found += beyond_limit("dislike_share", "Share of dislikes among reactions", as_measured(share), "percent")
    return found
