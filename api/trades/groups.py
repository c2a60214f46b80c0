"""Groups of trades: a page of them at a time, ordered by a figure within each currency."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from aggregators.definitions.trade import TRADE_PNL
from api.errors import Problem
from api.routing import described
from api.trades.figures import MEASURES, SORTS, TradeFigures, figures_of
from api.trades.parameters import Filters, Period, TradeQuery, question
from storage.database import AsyncConn
from storage.rollup_ranking import Ranking, ask_ranked

MAX_GROUPS = 200


class PagedQuery(TradeQuery, kw_only=True):
    """Which trades, and which page of their groups: `limit` groups a page, ordered by `sort` within each currency."""

    sort: Annotated[str, described(enum=tuple(SORTS))] = "totalPnL"
    order: Literal["asc", "desc"] = "desc"
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_GROUPS)] = 50
    page: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1


class TradeGroup(TradeFigures, kw_only=True, omit_defaults=True):
    """Figures of the trades that have these keys in common; a key that is not grouped by is absent. Each has one currency.

    `strategy` is null for trades without one.
    """

    currency: str
    symbol: str | msgspec.UnsetType = msgspec.UNSET
    broker: str | msgspec.UnsetType = msgspec.UNSET
    strategy: str | msgspec.UnsetType | None = msgspec.UNSET
    user_id: str | msgspec.UnsetType = msgspec.UNSET


class Groups(msgspec.Struct):
    """One page of groups, and how many groups there are."""

    groups: list[TradeGroup]
    count: int


def checked_sort(parameters: PagedQuery) -> str:
    """The figure to sort by, as the rollup names it. Raises Problem 400."""
    try:
        return SORTS[parameters.sort]
    except KeyError:
        raise Problem(
            400, f"sort: {parameters.sort[:64]!r} is no figure; known are {', '.join(SORTS)}", parameter="sort"
        ) from None


def checked_keys(text: str | None) -> tuple[str, ...]:
    """The keys of `group_by`, names with commas. Raises Problem 400."""
    keys = tuple(name.strip() for name in text.split(",")) if text else ()
    for key in keys:
        if key not in TRADE_PNL.keys:
            known = ", ".join(TRADE_PNL.keys)
            raise Problem(400, f"group_by: {key[:64]!r} is no key of trades; known are {known}", parameter="group_by")
    if len(set(keys)) < len(keys):
        raise Problem(400, "group_by: a name stands twice", parameter="group_by")
    return keys


async def page_of_groups(
    connection: AsyncConn, period: Period, filters: Filters, keys: tuple[str, ...], parameters: PagedQuery
) -> Groups:
    """A page of the groups of these keys inside a read transaction. Currencies come one behind the other, in each the best first.

    Amounts of different currencies cannot be compared, so there is no other order that says something.
    """
    group_by = ("currency", *(key for key in keys if key != "currency"))
    asked = question(period, filters, MEASURES, group_by, limit=parameters.limit)
    order = Ranking(
        checked_sort(parameters),
        descending=parameters.order == "desc",
        within=("currency",),
        offset=(parameters.page - 1) * parameters.limit,
    )
    found = await ask_ranked(connection, asked, order)
    return Groups([_group(group_by, row) for row in found.rows], found.count)


def _group(group_by: tuple[str, ...], row: list[Any]) -> TradeGroup:
    keys: dict[str, Any] = dict(zip(group_by, row, strict=False))
    if "strategy" in keys:
        keys["strategy"] = keys["strategy"] or None
    return TradeGroup(**keys, **figures_of(row[len(group_by) :]))
