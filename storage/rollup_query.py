"""Reading a rollup: one question, composed from its declaration, answered from the coarsest grains that fit."""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from aggregators import calendar
from aggregators.rollup import Derived, Measure, Rollup, Sketched
from aggregators.sketch_columns import Sketches
from storage.arrays import SENT_HEADER, elements, times
from storage.database import AsyncConn
from storage.filled import Unfilled, unfilled
from storage.rollup_sql import table

UTC = calendar.zone("UTC")


class BadQuery(ValueError):
    """A question that cannot be answered; `parameter` names what is wrong with it."""

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(f"{parameter}: {detail}")
        self.parameter = parameter


@dataclass(frozen=True)
class Question:
    """What to read. `start` and `end` are bucket starts of the rollup's finest grain; `filters` hold per key the values allowed.

    `after` continues behind the row with these values of time (where a grain is asked for) and keys. `limit` rows at most.
    `unfilled` is what the rollup cannot answer yet; `ask` finds it out.
    """

    rollup: Rollup
    measures: tuple[str, ...]
    start: dt.datetime
    end: dt.datetime
    grain: str | None = None
    tz: ZoneInfo = UTC
    group_by: tuple[str, ...] = ()
    filters: dict[str, tuple[str, ...]] = field(default_factory=dict)
    limit: int = 10_000
    after: tuple[Any, ...] | None = None
    unfilled: Unfilled | None = None


@dataclass
class Rows:
    """Columns and rows of an answer, ordered by time, then keys; `more` tells that the limit cut it.

    `start` and `end` are the range that was read: the asked one, widened to whole stored buckets.
    """

    columns: list[str]
    rows: list[list[Any]]
    more: bool
    start: dt.datetime
    end: dt.datetime


def _figures(question: Question) -> tuple[list[Measure], dict[str, Measure | Derived | Sketched]]:
    """The stored measures that are needed, and what each asked name is."""
    rollup = question.rollup
    known: dict[str, Measure | Derived | Sketched] = {m.name: m for m in rollup.measures if m.public}
    known |= {d.name: d for d in rollup.derived} | {s.name: s for s in rollup.sketched}
    needed: dict[str, Measure] = {}
    for name in question.measures:
        if name not in known:
            raise BadQuery(
                "measures", f"{name[:64]!r} is none of {rollup.name}; known are {', '.join(rollup.public_names())}"
            )
        figure = known[name]
        names = (
            [figure.name]
            if isinstance(figure, Measure)
            else (list(figure.needs) if isinstance(figure, Derived) else [figure.measure])
        )
        needed |= {n: rollup.measure(n) for n in names}
    return list(needed.values()), {name: known[name] for name in question.measures}


def usable_grains(question: Question, needed: Sequence[Measure]) -> list[str]:
    """The stored grains that hold every needed measure and never straddle an asked bucket, finest first. Raises NotFilled."""
    grains: list[str] = [
        grain
        for grain in question.rollup.grains
        if all(m.grains is None or grain in m.grains for m in needed)
        and calendar.serves(grain, question.grain, question.start, question.end, question.tz)
    ]
    if not grains:
        kept = next((m.grains[0] for m in needed if m.grains), question.rollup.grains[0])
        raise BadQuery("grain", f"these measures are kept from {kept} upward")
    return grains if question.unfilled is None else question.unfilled.answering(grains, [m.name for m in needed])


def align(question: Question, grains: Sequence[str]) -> tuple[dt.datetime, dt.datetime]:
    """The range widened to whole buckets of the finest usable grain."""
    return calendar.floor(question.start, grains[0], UTC), calendar.ceil(question.end, grains[0], UTC)


def compose(question: Question) -> tuple[Composed, list[Any]]:
    """The SQL of a question and its parameters. Rows come as time, keys, then what `ask` turns into the figures.

    The time of local days, weeks and months is the number of the bucket in `_starts`, from 1.
    """
    needed, _ = _figures(question)
    for key in (*question.group_by, *question.filters):
        if key not in question.rollup.keys:
            where = "group_by" if key in question.group_by else "filter"
            raise BadQuery(
                where,
                f"{key[:64]!r} is no key of {question.rollup.name}; its keys are {', '.join(question.rollup.keys)}",
            )
    grains = usable_grains(question, needed)
    start, end = align(question, grains)
    starts = _starts(question.grain, question.tz, start, end)
    parameters: list[Any] = [times(starts)] if question.grain in calendar.LOCAL_DAYS else []
    place = needed and any(m.merge == "last" for m in needed)
    carried = [Identifier(m.name) for m in needed]
    if place:
        carried += [Identifier(c) for c in ("last_time", "last_source", "last_id")]
    parts = []
    for grain, low, high in calendar.segments(start, end, grains) or [(grains[0], start, start)]:
        conditions: list[Composable] = [SQL("bucket >= %s"), SQL("bucket < %s")]
        parameters += [low, high]
        for key, values in question.filters.items():
            conditions.append(SQL("{} = any(%s)").format(Identifier(key)))
            parameters.append(list(values))
        parts.append(
            SQL("select {} from {} where {}").format(
                SQL(", ").join([Identifier("bucket"), *(Identifier(k) for k in question.group_by), *carried]),
                table(question.rollup, grain, "app"),
                SQL(" and ").join(conditions),
            )
        )
    groups = ([Identifier("time")] if question.grain else []) + [Identifier(k) for k in question.group_by]
    time = [SQL("{} as time").format(_bucket(question))] if question.grain else []
    base = SQL("base as (select {} from ({}) as part)").format(
        SQL(", ").join([*time, *(Identifier(k) for k in question.group_by), *carried]), SQL(" union all ").join(parts)
    )
    statement = _grouped(question, needed, base, groups)
    order = SQL(" order by {}").format(SQL(", ").join(groups)) if groups else SQL("")
    if question.after is not None and groups:
        statement += SQL(" where ({}) > ({})").format(SQL(", ").join(groups), SQL(", ").join([SQL("%s")] * len(groups)))
        parameters += [_number(starts, question.after[0]), *question.after[1:]] if starts else list(question.after)
    statement += order + SQL(" limit %s")
    parameters.append(question.limit + 1)
    return statement, parameters


@lru_cache(maxsize=64)
def _starts(grain: str | None, tz: ZoneInfo, start: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    """The starts of the local days, weeks or months of a range; empty for shorter buckets.

    PostgreSQL and Python take different midnights where clocks are set back over it, so the calendar alone says where days begin.
    """
    return list(calendar.buckets(start, end, grain, tz)) if grain in calendar.LOCAL_DAYS else []


def _number(starts: list[dt.datetime], time: dt.datetime) -> int:
    """The number, from 1, of the last bucket that starts at or before a time."""
    return bisect.bisect_right(starts, time)


def _bucket(question: Question) -> Composable:
    """The asked bucket of a stored one."""
    if question.grain in calendar.LOCAL_DAYS:
        return SQL("width_bucket(bucket, %s::timestamptz[])")
    if question.grain in ("1m", "5m", "15m"):
        width = {"1m": "1 minute", "5m": "5 minutes", "15m": "15 minutes"}[question.grain]
        return SQL("date_bin({}, bucket, 'epoch')").format(SQL("interval {}").format(Literal(width)))
    return SQL("date_trunc('hour', bucket, {})").format(Literal(question.tz.key))


_LATEST = SQL("(array_agg({c} order by last_time desc, last_source desc, last_id desc))[1]")


_PAIRS = SQL("string_agg(substring(array_send({c}) from {first}), ''::bytea)")
"""All pairs of a group's sketches, as they are stored: numpy merges them twenty times as fast as SQL could."""


def _grouped(question: Question, needed: Sequence[Measure], base: Composed, groups: list[Identifier]) -> Composed:
    """Merges the parts by group: first the asked figures that are not sketched, then the sketches that the others are read from."""
    forms = {"add": SQL("sum({c})"), "min": SQL("min({c})"), "max": SQL("max({c})"), "last": _LATEST}
    totals = [
        SQL("{} as {}").format(
            forms.get(m.merge, _PAIRS).format(c=Identifier(m.name), first=Literal(SENT_HEADER + 1)), Identifier(m.name)
        )
        for m in needed
    ]
    merged = SQL("totals as (select {} from base {})").format(
        SQL(", ").join([*groups, *totals, SQL("count(*) as stored_rows")]), _group_by(groups)
    )
    _, asked = _figures(question)
    outputs: list[Composable] = list(groups)
    outputs += [
        SQL("{} as {}").format(_output(figure), Identifier(f"figure {name}"))
        for name, figure in asked.items()
        if not isinstance(figure, Sketched)
    ]
    outputs += [Identifier(m.name) for m in _sketches(needed)]
    return SQL("with {}, {} select {} from totals").format(base, merged, SQL(", ").join(outputs)) + (
        SQL("") if groups else SQL(" where stored_rows > 0")
    )


def _sketches(needed: Sequence[Measure]) -> list[Measure]:
    return [measure for measure in needed if measure.merge in ("bins", "registers")]


def _group_by(groups: list[Identifier]) -> Composable:
    return SQL("group by {}").format(SQL(", ").join(groups)) if groups else SQL("")


def _output(figure: Measure | Derived) -> Composable:
    return SQL(figure.sql) if isinstance(figure, Derived) else Identifier(figure.name)


async def ask(connection: AsyncConn, question: Question) -> Rows:
    """Answers a question inside an organization's read transaction. Raises BadQuery, or NotFilled."""
    question = replace(question, unfilled=await unfilled(connection, question.rollup.name))
    statement, parameters = compose(question)
    needed, asked = _figures(question)
    start, end = align(question, usable_grains(question, needed))
    starts = _starts(question.grain, question.tz, start, end)
    cursor = await connection.execute(statement, parameters, binary=True)
    found = await cursor.fetchall()
    more = len(found) > question.limit
    found = found[: question.limit]
    fields = list(zip(*found, strict=True)) if found else [()] * len(cursor.description or ())
    leading = (1 if question.grain else 0) + len(question.group_by)
    plain = [name for name, figure in asked.items() if not isinstance(figure, Sketched)]
    figures = {
        name: [plain_number(value) for value in field]
        for name, field in zip(plain, fields[leading : leading + len(plain)], strict=True)
    }
    sketches = {
        m.name: _merged(m, field) for m, field in zip(_sketches(needed), fields[leading + len(plain) :], strict=True)
    }
    for name, figure in asked.items():
        if isinstance(figure, Sketched):
            sketch = sketches[figure.measure]
            figures[name] = (
                list(sketch.distincts(len(found))) if figure.q is None else list(sketch.quantiles(len(found), figure.q))
            )
    places = [list(field) for field in fields[:leading]]
    if starts:
        places[0] = [starts[number - 1] for number in places[0]]
    rows = [list(row) for row in zip(*places, *(figures[name] for name in question.measures), strict=True)]
    columns = [*(["time"] if question.grain else []), *question.group_by, *question.measures]
    return Rows(columns, rows, more, start, end)


def _merged(measure: Measure, field: Sequence[bytes | None]) -> Sketches:
    """The sketches of one column of an answer."""
    pairs, counts = elements([sent or b"" for sent in field])
    return Sketches(np.repeat(np.arange(len(field)), counts), pairs, measure.merge).merged()


_EVERY_DIGIT = Context(prec=1_000)
"""Python's own context would round a decimal to 28 digits; a stored amount has 36, and a sum of them more."""


def plain_number(value: Any) -> Any:
    """A decimal without the zeros at its end that say nothing, exact to the last digit; whole numbers as integers."""
    if isinstance(value, Decimal):
        digits = value.normalize(_EVERY_DIGIT)
        return digits if int(digits.as_tuple().exponent) < 0 else int(digits)
    return value


def exact_sum(values: Iterable[Any]) -> Any:
    """The sum of integers and decimals, to the last digit."""
    total = Decimal(0)
    for value in values:
        total = _EVERY_DIGIT.add(total, value)
    return plain_number(total)
