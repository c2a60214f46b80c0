"""Reading a rollup: one question, composed from its declaration, answered from the coarsest grains that fit."""

from __future__ import annotations

import asyncio
import bisect
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from aggregators import calendar
from aggregators.rollup import Measure, Rollup, Sketched
from aggregators.sketch_bytes import read_sketches
from storage.arrays import times
from storage.database import AsyncConn
from storage.filled import Unfilled, unfilled
from storage.rollup_statement import Figure, figures, needed_measures, sketches, statement

UTC = calendar.zone("UTC")
_LONG = dt.timedelta(days=800)
"""From here on finding out the buckets of a range takes long enough to be felt."""


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


def asked_figures(question: Question) -> dict[str, Figure]:
    """What each asked name is. Raises BadQuery."""
    try:
        return figures(question.rollup, question.measures)
    except KeyError as error:
        known = ", ".join(question.rollup.public_names())
        raise BadQuery(
            "measures", f"{error.args[0][:64]!r} is none of {question.rollup.name}; known are {known}"
        ) from None


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


@dataclass(frozen=True)
class Plan:
    """How a question is answered: the range that is read, the stored buckets that cover it and the starts of the asked local days."""

    start: dt.datetime
    end: dt.datetime
    parts: list[tuple[str, dt.datetime, dt.datetime]]
    starts: list[dt.datetime]


def planned(question: Question, needed: Sequence[Measure]) -> Plan:
    """The stored buckets that answer a question about these measures. Raises BadQuery, or NotFilled."""
    for key in (*question.group_by, *question.filters):
        if key not in question.rollup.keys:
            where = "group_by" if key in question.group_by else "filter"
            raise BadQuery(
                where,
                f"{key[:64]!r} is no key of {question.rollup.name}; its keys are {', '.join(question.rollup.keys)}",
            )
    grains = usable_grains(question, needed)
    # The range is widened to whole buckets of the finest usable grain.
    start, end = calendar.floor(question.start, grains[0], UTC), calendar.ceil(question.end, grains[0], UTC)
    parts = calendar.segments(start, end, grains) or [(grains[0], start, start)]
    return Plan(start, end, parts, _starts(question.grain, question.tz, start, end))


def composed(
    question: Question, plan: Plan, names: tuple[str, ...], sent: Sequence[Any] = ()
) -> tuple[bytes, list[Any]]:
    """The SQL of a question and its parameters. The text follows from the question's shape alone, so it is composed once a shape.

    `sent`: the rows that are read instead of stored ones (see `statement`), for a plan of one part.
    """
    text = statement(
        question.rollup,
        names,
        tuple(grain for grain, _, _ in plan.parts),
        question.grain,
        question.tz.key,
        question.group_by,
        tuple(question.filters),
        question.after is not None,
        bool(sent),
    )
    parameters: list[Any] = [times(plan.starts)] if question.grain in calendar.LOCAL_DAYS else []
    parameters += sent
    parameters += of_parts(question, plan)
    if question.after is not None:
        place = list(question.after)
        if plan.starts:
            place[0] = bisect.bisect_right(plan.starts, place[0])
        parameters += place
    return text, [*parameters, question.limit + 1]


def of_parts(question: Question, plan: Plan) -> list[Any]:
    """The parameters of a plan's parts: for each its first bucket, the one behind its last, and the values of each filter."""
    filters = [list(values) for values in question.filters.values()]
    return [value for _, low, high in plan.parts for value in (low, high, *filters)]


@lru_cache(maxsize=64)
def _starts(grain: str | None, tz: ZoneInfo, start: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    """The starts of the local days, weeks or months of a range; empty for shorter buckets.

    PostgreSQL and Python take different midnights where clocks are set back over it, so the calendar alone says where days begin.
    """
    return list(calendar.buckets(start, end, grain, tz)) if grain in calendar.LOCAL_DAYS else []


def compose(question: Question) -> tuple[bytes, list[Any]]:
    """The SQL that `ask` sends for a question, and its parameters. Raises BadQuery."""
    asked = asked_figures(question)
    return composed(question, planned(question, needed_measures(question.rollup, asked)), question.measures)


@dataclass(frozen=True)
class Prepared:
    """A question of which the SQL is made. What the database answers to it is read by `read`."""

    question: Question
    asked: dict[str, Figure]
    plan: Plan
    text: bytes
    parameters: list[Any]

    @property
    def columns(self) -> list[str]:
        """What each value of a row is."""
        return [*(["time"] if self.question.grain else []), *self.question.group_by, *self.question.measures]

    def read(self, found: Sequence[Sequence[Any]], types: Sequence[int]) -> list[list[Any]]:
        """The rows of some that the database gave, whose columns are of these types."""
        columns: list[Sequence[Any]] = list(zip(*found, strict=True)) if found else [()] * len(types)
        question, asked = self.question, self.asked
        leading = (1 if question.grain else 0) + len(question.group_by)
        plain = [name for name, figure in asked.items() if not isinstance(figure, Sketched)]
        read: dict[str, Sequence[Any]] = {}
        for place, name in enumerate(plain, start=leading):
            exact = types[place] == NUMERIC
            read[name] = [plain_number(value) for value in columns[place]] if exact else columns[place]
        needed = sketches(needed_measures(question.rollup, asked))
        for measure, column in zip(needed, columns[leading + len(plain) :], strict=True):
            read |= _read(measure, column, {n: f for n, f in asked.items() if isinstance(f, Sketched)})
        places = columns[:leading]
        if self.plan.starts:
            places[0] = [self.plan.starts[number - 1] for number in places[0]]
        return [list(row) for row in zip(*places, *(read[name] for name in question.measures), strict=True)]


async def prepare_question(connection: AsyncConn, question: Question) -> Prepared:
    """Plans a question inside an organization's read transaction. Raises BadQuery, or NotFilled."""
    question = replace(question, unfilled=await unfilled(connection, question.rollup.name))
    asked = asked_figures(question)
    needed = needed_measures(question.rollup, asked)
    # The days of a century, of a zone that nobody asked for so far, are a third of a second's work: not for the event loop.
    if question.grain and question.end - question.start > _LONG:
        plan = await asyncio.to_thread(planned, question, needed)
    else:
        plan = planned(question, needed)
    return Prepared(question, asked, plan, *composed(question, plan, question.measures))


async def ask(connection: AsyncConn, question: Question) -> Rows:
    """Answers a question inside an organization's read transaction. Raises BadQuery, or NotFilled."""
    return await read_rows(connection, await prepare_question(connection, question))


async def read_rows(connection: AsyncConn, prepared: Prepared) -> Rows:
    """Runs the SQL of a question, and reads its figures from what comes back."""
    question = prepared.question
    cursor = await connection.execute(prepared.text, prepared.parameters, binary=True)
    found = await cursor.fetchall()
    more = len(found) > question.limit
    rows = prepared.read(found[: question.limit], [column.type_code for column in cursor.description or ()])
    return Rows(prepared.columns, rows, more, prepared.plan.start, prepared.plan.end)


_AT_ONCE = 65_536
"""Bytes of sketches that are merged at once: arrays that stay in the processor's cache, and memory that does not grow with the answer."""


def _read(measure: Measure, column: Sequence[bytes | None], asked: Mapping[str, Sketched]) -> dict[str, list[Any]]:
    """The figures that are read from the sketches of one column of an answer."""
    found: dict[str, list[Any]] = {name: [] for name, figure in asked.items() if figure.measure == measure.name}
    for rows in _pieces(column):
        whole = read_sketches(rows, measure.merge).merged()
        for name, values in found.items():
            q = asked[name].q
            values += whole.distincts(len(rows)) if q is None else whole.quantiles(len(rows), q)
    return found


def _pieces(column: Sequence[bytes | None]) -> Iterator[list[bytes]]:
    """The column in pieces of about as many bytes as are merged at once."""
    rows: list[bytes] = []
    size = 0
    for written in column:
        rows.append(written or b"")
        size += len(rows[-1])
        if size >= _AT_ONCE:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


NUMERIC = psycopg.adapters.types["numeric"].oid

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


def exact_difference(value: Any, other: Any) -> Any:
    """One integer or decimal less another, to the last digit."""
    return plain_number(_EVERY_DIGIT.subtract(Decimal(value), Decimal(other)))
