"""Query parameters to questions: what `/api/v1/query` and state streams have in common."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from aggregators import calendar
from aggregators.definitions import BY_NAME
from aggregators.rollup import Rollup
from api import ranges
from api.errors import Problem
from api.routing import described
from storage.database import AsyncConn
from storage.feed import Watermark
from storage.rollup_query import BadQuery, Question, Rows, ask

MAX_BUCKETS = 100_000
DEFAULT_LIMIT = 10_000
MAX_LIMIT = 100_000
MOST_YEARS = 100
"""Of a question that has no bound of buckets."""


class QueryParameters(msgspec.Struct, kw_only=True):
    """A question to one rollup.

    `measures` and `group_by` are lists with commas; `filter` is `key:value[,value…]`, repeatable, a comma inside a value as `\\,`.
    `from` (inclusive) and `to` (exclusive) are dates or times, 24 hours up to now by default. Without `grain` each group is one row.
    `cursor` continues the answer that gave it, over the same range, whatever `from` and `to` say by now. `source=raw` computes the same
    figures from the raw events, archived ones too, instead of reading the rollup: slower, and bounded in days and events.
    """

    rollup: Annotated[str, described(enum=tuple(BY_NAME))]
    measures: Annotated[str, described("avg,max,p95", "trades,net")] | None = None
    group_by: Annotated[str, described("host", "symbol,currency")] | None = None
    filter: list[Annotated[str, described("metric:cpu_usage", "currency:USD,EUR")]] = []
    from_: ranges.Moment | None = msgspec.field(name="from", default=None)
    to: ranges.Moment | None = None
    grain: Literal["1m", "5m", "15m", "1h", "1d", "1w", "1mo"] | None = None
    tz: ranges.Zone | None = None
    fill: Literal["null", "zero"] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT
    cursor: str | None = None
    source: Literal["rollup", "raw"] = "rollup"


class Answer(msgspec.Struct, kw_only=True):
    """Rows of one rollup. `as_of`: all events accepted up to then are in it. `cursor` continues where `limit` cut; else null.

    `from` and `to` are the range that was read: the asked one, widened to whole buckets of the finest grain that holds the measures.
    """

    as_of: dt.datetime
    rollup: str
    grain: str | None
    from_: str = msgspec.field(name="from")
    to: str
    tz: str
    columns: list[str]
    rows: list[list[Any]]
    cursor: str | None = None


def rollup_named(name: str) -> Rollup:
    """A declared rollup; raises Problem 400."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise Problem(
            400, f"rollup: {name[:64]!r} is none; known are {', '.join(BY_NAME)}", parameter="rollup"
        ) from None


def parse(parameters: QueryParameters, *, now: dt.datetime, default_zone: str, bulk: bool = False) -> Question:
    """The question that the parameters ask; a `bulk` one may have any number of buckets. Raises Problem 400, which names the parameter."""
    rollup = rollup_named(parameters.rollup)
    tz = ranges.asked_zone(parameters.tz, default_zone)
    grain = parameters.grain
    if grain in ("1m", "5m", "15m") and grain not in rollup.grains and not (grain == "5m" and "1m" in rollup.grains):
        raise Problem(400, f"grain: {rollup.name} is kept from {rollup.grains[0]} upward", parameter="grain")
    finest = rollup.grains[0]
    utc = calendar.zone("UTC")
    aligned = grain if grain in ("1m", "5m", "15m", "1h") else finest
    place = _place(parameters.cursor) if parameters.cursor is not None else None
    from_, to = place[:2] if place else (parameters.from_, parameters.to)
    end = ranges.moment(to, "to", tz, now) if to else calendar.ceil(now, aligned or finest, tz)
    start = ranges.moment(from_, "from", tz, now) if from_ else end - dt.timedelta(hours=24)
    ranges.ordered(start, end)
    start, end = calendar.floor(start, finest, utc), calendar.ceil(end, finest, utc)
    if bulk and end - start > dt.timedelta(days=366 * MOST_YEARS):
        raise Problem(400, f"from: at most {MOST_YEARS} years are read at once", parameter="from")
    if not bulk and grain and calendar.count_at_most(start, end, grain) > MAX_BUCKETS:
        raise Problem(400, f"grain: {grain} over this range gives more than {MAX_BUCKETS} buckets", parameter="grain")
    measures = _names(parameters.measures, "measures") or tuple(
        name for name in rollup.public_names() if name not in {s.name for s in rollup.sketched}
    )
    group_by = _names(parameters.group_by, "group_by") or ()
    question = Question(
        rollup=rollup,
        measures=measures,
        start=start,
        end=end,
        grain=grain,
        tz=tz,
        group_by=group_by,
        filters=_filters(parameters.filter, rollup),
        limit=parameters.limit,
    )
    if parameters.fill and not grain:
        raise Problem(400, "fill: needs a grain, whose empty buckets it fills", parameter="fill")
    if place is None:
        return question
    if parameters.fill:
        raise Problem(400, "cursor: cannot continue an answer that is filled", parameter="cursor")
    return _continued(question, place[2:])


def moving(parameters: QueryParameters) -> bool:
    """Whether the range follows the clock."""
    if parameters.cursor is not None:
        return False
    return any(text is None or text.startswith("now") for text in (parameters.from_, parameters.to))


def _names(text: str | None, parameter: str) -> tuple[str, ...] | None:
    if text is None or text == "":
        return None
    names = tuple(name.strip() for name in text.split(","))
    if len(set(names)) < len(names):
        raise Problem(400, f"{parameter}: a name stands twice", parameter=parameter)
    if len(names) > 64:
        raise Problem(400, f"{parameter}: at most 64 names are taken", parameter=parameter)
    return names


def _filters(texts: list[str], rollup: Rollup) -> dict[str, tuple[str, ...]]:
    """`key:value,value` by key. The first colon splits; an escaped comma belongs to its value."""
    filters: dict[str, tuple[str, ...]] = {}
    for text in texts:
        key, colon, rest = text.partition(":")
        if not colon:
            raise Problem(400, "filter: expected key:value[,value…]", parameter="filter")
        if key not in rollup.keys:
            known = ", ".join(rollup.keys)
            raise Problem(
                400, f"filter: {key[:64]!r} is no key of {rollup.name}; its keys are {known}", parameter="filter"
            )
        if key in filters:
            raise Problem(400, f"filter: {key} stands twice; list its values with commas", parameter="filter")
        values = tuple(value.replace("\0", ",") for value in rest.replace("\\,", "\0").split(","))
        if len(values) > 1_000:
            raise Problem(400, "filter: at most 1,000 values of a key are taken", parameter="filter")
        filters[key] = values
    return filters


def _place(cursor: str) -> list[str]:
    """What a cursor says: the start and end of the range, then the time (where there is one) and the keys of the last row."""
    try:
        place = msgspec.json.decode(base64.urlsafe_b64decode(cursor.encode()), type=list[str])
        known = len(place) > 2 and all(dt.datetime.fromisoformat(time).tzinfo for time in place[:2])
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        known = False
    if not known or any("\0" in part for part in place):
        raise Problem(400, "cursor: is none that this service gave", parameter="cursor")
    return place


def _continued(question: Question, place: list[str]) -> Question:
    """The question from behind the row with this time and these keys."""
    after: list[Any] = list(place)
    try:
        if len(after) != len(question.group_by) + bool(question.grain):
            raise ValueError("another number of columns")
        if question.grain:
            after[0] = dt.datetime.fromisoformat(place[0])
            if after[0].tzinfo is None:
                raise ValueError("no offset")
    except ValueError:
        raise Problem(400, "cursor: belongs to another question", parameter="cursor") from None
    return replace(question, after=tuple(after))


async def answer(
    connection: AsyncConn,
    question: Question,
    mark: Watermark,
    fill: str | None = None,
    asked: Callable[[AsyncConn, Question], Awaitable[Rows]] = ask,
) -> Answer:
    """Asks inside an organization's read transaction, which `mark` was read in too. Raises Problem 400."""
    try:
        rows = await asked(connection, question)
    except BadQuery as error:
        raise Problem(400, str(error), parameter=error.parameter) from None
    cursor = _cursor(question, rows) if rows.more else None
    if fill and question.grain:
        rows = filled(question, rows, fill)
        cursor = None
    return Answer(
        as_of=mark.as_of,
        rollup=question.rollup.name,
        grain=question.grain,
        from_=rows.start.astimezone(question.tz).isoformat(),
        to=rows.end.astimezone(question.tz).isoformat(),
        tz=question.tz.key,
        columns=rows.columns,
        rows=shown_rows(question, rows.rows),
        cursor=cursor,
    )


def shown_rows(question: Question, rows: list[list[Any]]) -> list[list[Any]]:
    """The rows as they are written, in place: times in the zone, an optional key that was absent as null."""
    if question.grain:
        for row in rows:
            row[0] = local_text(row[0], question.tz)
    return without_absent(question, rows)


def without_absent(question: Question, rows: list[list[Any]]) -> list[list[Any]]:
    """The rows, in place, with an optional key that was absent as null."""
    for position, key in enumerate(question.group_by, start=1 if question.grain else 0):
        if key in question.rollup.optional_keys:
            for row in rows:
                row[position] = row[position] or None
    return rows


@lru_cache(maxsize=16_384)
def local_text(time: dt.datetime, tz: ZoneInfo) -> str:
    """The start of a bucket as it is written. A dashboard asks for nearly the same ones again and again."""
    return time.astimezone(tz).isoformat()


def _cursor(question: Question, rows: Rows) -> str | None:
    leading = len(question.group_by) + bool(question.grain)
    if not leading:
        return None
    place = [question.start, question.end, *rows.rows[-1][:leading]]
    texts = [part.astimezone(dt.UTC).isoformat() if isinstance(part, dt.datetime) else part for part in place]
    return base64.urlsafe_b64encode(msgspec.json.encode(texts)).decode()


def filled(question: Question, rows: Rows, fill: str) -> Rows:
    """The rows with every bucket of the range for every group that has a row in it, the empty ones null or zero."""
    assert question.grain is not None
    if rows.more:
        raise Problem(400, "limit: too small for an answer with fill, which cannot be continued", parameter="limit")
    keys = len(question.group_by)
    groups = sorted({tuple(row[1 : 1 + keys]) for row in rows.rows}) or ([()] if not keys else [])
    times = list(calendar.buckets(rows.start, rows.end, question.grain, question.tz))
    if len(groups) * len(times) > question.limit:
        detail = f"limit: an answer with fill has {len(groups) * len(times)} rows and cannot be continued"
        raise Problem(400, detail, parameter="limit")
    known = {(row[0].astimezone(dt.UTC), *row[1 : 1 + keys]): row for row in rows.rows}
    blank = [0 if fill == "zero" else None] * len(question.measures)
    rows.rows = [known.get((time, *group)) or [time, *group, *blank] for time in times for group in groups]
    return rows
