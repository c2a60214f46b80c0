"""Reading a rollup by rank: the groups of a question ordered by a figure, a page at a time; and how many groups there are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from storage.database import AsyncConn
from storage.filled import unfilled
from storage.rollup_query import Question, asked_figures, of_parts, plain_number, planned
from storage.rollup_statement import counting, needed_measures, ranking


@dataclass(frozen=True)
class Ranking:
    """Which groups of a question: those of its `limit` behind the first `offset`, ordered by the keys `within`, the figure `by`, the
    other keys. `by` is one of the question's measures; groups without that figure come last."""

    by: str
    descending: bool = True
    within: tuple[str, ...] = ()
    offset: int = 0


@dataclass(frozen=True)
class Ranked:
    """Rows of keys and measures in their order, and how many groups there are in all."""

    rows: list[list[Any]]
    count: int


async def ask_ranked(connection: AsyncConn, question: Question, order: Ranking) -> Ranked:
    """Answers a question, which has no grain and no sketched figure, by rank. Inside a read transaction. Raises BadQuery, or NotFilled."""
    question = replace(question, unfilled=await unfilled(connection, question.rollup.name))
    plan = planned(question, needed_measures(question.rollup, asked_figures(question)))
    text = ranking(
        question.rollup,
        question.measures,
        tuple(grain for grain, _, _ in plan.parts),
        question.group_by,
        tuple(question.filters),
        order.within,
        order.by,
        order.descending,
    )
    parameters = [*of_parts(question, plan), question.limit, order.offset]
    found = await (await connection.execute(text, parameters, binary=True)).fetchall()
    rows = [[plain_number(value) for value in row[:-1]] for row in found]
    if found:
        return Ranked(rows, int(found[0][-1]))
    return Ranked([], await count_groups(connection, question) if order.offset else 0)


async def count_groups(connection: AsyncConn, question: Question) -> int:
    """How many different groups a question has, whatever its limit. Inside a read transaction. Raises BadQuery, or NotFilled."""
    question = replace(question, unfilled=await unfilled(connection, question.rollup.name))
    plan = planned(question, needed_measures(question.rollup, asked_figures(question)))
    text = counting(
        question.rollup, tuple(grain for grain, _, _ in plan.parts), question.group_by, tuple(question.filters)
    )
    row = await (await connection.execute(text, of_parts(question, plan))).fetchone()
    assert row is not None
    return int(row[0])
