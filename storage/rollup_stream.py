"""A whole answer, however long, in batches: a server-side cursor over one snapshot, in bounded memory."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from psycopg import AsyncServerCursor
from psycopg.rows import TupleRow

from aggregators import calendar
from aggregators.rollup import Measure, Sketched
from storage.database import AsyncConn, translated
from storage.rollup_query import NUMERIC, BadQuery, Prepared, Question, of_parts, prepare_question
from storage.rollup_statement import Figure, grouping

BATCH = 500
"""Rows that are fetched at once: some milliseconds' work for whoever reads them."""
AT_FIRST = 20
"""Rows that are fetched before it is known how long their sketches are."""
MOST_BYTES = 4 * 1024 * 1024
"""Of sketches, in the rows that are fetched at once, as far as those before foretell it: those of thousands of keys may be one row's."""
MOST_GROUPS = 100_000
"""Of an answer that is filled: they are held in memory, as each of them stands in every bucket."""

Fetched = list[TupleRow]
"""Rows as the database gives them."""

Kind = Literal["time", "text", "integer", "decimal", "float"]


@dataclass(frozen=True)
class StreamColumn:
    """A column of the answer and what its values are, where they are not null."""

    name: str
    kind: Kind


class RowStream:
    """The rows of a question in the order of `ask`, with buckets that are empty where `fill` says so."""

    def __init__(self, prepared: Prepared, cursor: AsyncServerCursor[TupleRow], filling: Filling | None) -> None:
        self._prepared = prepared
        self._cursor = cursor
        self._filling = filling
        self._types = [column.type_code for column in cursor.description or ()]
        self.start, self.end = prepared.plan.start, prepared.plan.end
        self.columns = list(self._columns())
        self._sketched = any(isinstance(figure, Sketched) for figure in prepared.asked.values())
        self._batch = AT_FIRST if self._sketched else BATCH
        self._heard = 0.0

    async def fetch(self) -> Fetched:
        """The next rows as the database gives them; none at the end. Raises StorageUnavailable, QueryTooSlow."""
        with translated():
            found = await self._cursor.fetchmany(self._batch)
        self._heard = asyncio.get_running_loop().time()
        if self._sketched and found:
            size = sum(len(value) for row in found for value in row if isinstance(value, bytes))
            self._batch = max(1, min(BATCH, 2 * self._batch, MOST_BYTES * len(found) // max(1, size)))
        return found

    async def stay(self, seconds: float) -> None:
        """Lets the database hear something where it heard nothing for so long: it would take who is silent for gone.

        What lies between two rows may be a million empty buckets. Raises StorageUnavailable.
        """
        if asyncio.get_running_loop().time() - self._heard < seconds:
            return
        with translated():
            await self._cursor.connection.execute("select 1", prepare=False)
        self._heard = asyncio.get_running_loop().time()

    def read(self, found: Fetched) -> Iterator[list[list[Any]]]:
        """The rows of some that were fetched, in pieces of at most BATCH; of none: what is left at the end. Needs no connection."""
        rows = self._prepared.read(found, self._types)
        if self._filling is None:
            if rows:
                yield rows
            return
        filled = self._filling.rows(rows, last=not found)
        while piece := list(islice(filled, BATCH)):
            yield piece

    def _columns(self) -> Iterator[StreamColumn]:
        question = self._prepared.question
        if question.grain:
            yield StreamColumn("time", "time")
        for key in question.group_by:
            yield StreamColumn(key, "text")
        leading = (1 if question.grain else 0) + len(question.group_by)
        plain = [name for name, figure in self._prepared.asked.items() if not isinstance(figure, Sketched)]
        types = dict(zip(plain, self._types[leading:], strict=False))
        for name in question.measures:
            yield StreamColumn(name, _kind(self._prepared.asked[name], types.get(name)))


def _kind(figure: Figure, type_code: int | None) -> Kind:
    if isinstance(figure, Sketched):
        return "integer" if figure.q is None else "float"
    if isinstance(figure, Measure) and figure.pg_type == "bigint":
        return "integer"  # sums of them are numeric for PostgreSQL
    return "decimal" if type_code == NUMERIC else "float"


class Filling:
    """Every bucket of a range for every group, in order: the rows that there are, and blanks between them."""

    def __init__(
        self, question: Question, start: dt.datetime, end: dt.datetime, groups: list[tuple[Any, ...]], fill: str
    ):
        assert question.grain is not None
        self._keys = len(question.group_by)
        self._blank = [0 if fill == "zero" else None] * len(question.measures)
        self._places = (
            (time, *group)
            for time in calendar.buckets(start, end, question.grain, question.tz)
            for group in (groups if self._keys else [()])
        )

    def rows(self, found: list[list[Any]], *, last: bool) -> Iterator[list[Any]]:
        """These rows with the blanks before them; at the `last` those behind all rows."""
        for row in found:
            place = (row[0].astimezone(dt.UTC), *row[1 : 1 + self._keys])
            for blank in self._places:
                if blank == place:
                    break
                yield [*blank, *self._blank]
            yield row
        if last:
            for blank in self._places:
                yield [*blank, *self._blank]


@asynccontextmanager
async def stream_rows(connection: AsyncConn, question: Question, fill: str | None = None) -> AsyncIterator[RowStream]:
    """Asks inside an organization's snapshot, for all rows whatever the question's limit. Raises BadQuery, or NotFilled.

    The connection is closed with the block: a cursor in the middle of its rows leaves nothing that could be read after it.
    """
    prepared = await prepare_question(connection, question)
    filling = None
    if fill and question.grain:
        groups = await _groups(connection, prepared)
        filling = Filling(prepared.question, prepared.plan.start, prepared.plan.end, groups, fill)
    # All rows will be read: the plan is to be the one that has them all soonest, not the first of them.
    await connection.execute("select set_config('cursor_tuple_fraction', '1', true)")
    cursor = connection.cursor(name="rows", scrollable=False)
    try:
        await cursor.execute(prepared.text, [*prepared.parameters[:-1], None], binary=True)
        yield RowStream(prepared, cursor, filling)
    finally:
        await connection.close()
        await cursor.close()


async def _groups(connection: AsyncConn, prepared: Prepared) -> list[tuple[Any, ...]]:
    question, parts = prepared.question, prepared.plan.parts
    if not question.group_by:
        return []
    text = grouping(question.rollup, tuple(grain for grain, _, _ in parts), question.group_by, tuple(question.filters))
    found = await (await connection.execute(text, [*of_parts(question, prepared.plan), MOST_GROUPS + 1])).fetchall()
    if len(found) > MOST_GROUPS:
        raise BadQuery("fill", f"at most {MOST_GROUPS:,} groups can be filled; narrow them with a filter")
    return found
