"""Which trades are asked for: a range of the user's days, filters, and whose trades the caller may see."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from aggregators import calendar
from aggregators.definitions.trade import TRADE_PNL
from api import ranges
from api.auth.principal import Principal
from api.errors import Problem
from api.visibility import own_trades
from storage.database import AsyncConn
from storage.recent_trades import first_trade
from storage.rollup_query import Question, ask

MAX_DAYS = 3_700
MAX_ROWS = 100_000
"""Rows of a series, or of all series of an answer, at most."""

Filters = dict[str, tuple[str, ...]]
"""Values of keys of the rollup of trades."""


class TradeQuery(msgspec.Struct, kw_only=True):
    """Which trades. Days are those of `tz`: `time_range` counts local days, today included; `from` and `to` are dates, inclusive."""

    time_range: ranges.TimeRange | None = None
    from_: ranges.Day | None = msgspec.field(name="from", default=None)
    to: ranges.Day | None = None
    tz: ranges.Zone | None = None
    broker: str | None = None
    symbol: str | None = None
    strategy: str | None = None
    currency: str | None = None
    user_id: str | None = None


class Period(msgspec.Struct, frozen=True):
    """A resolved range: its moments, and its local days where it has whole ones."""

    start: dt.datetime
    end: dt.datetime
    tz: ZoneInfo
    label: str

    @property
    def whole_days(self) -> bool:
        """Whether it begins and ends with a day; the last 24 hours do not."""
        return self.label != "24h"

    @property
    def first(self) -> str:
        """The local date of its beginning."""
        return local_date(self.start, self.tz)

    @property
    def last(self) -> str:
        """The local date of its last moment."""
        return local_date(self.end - dt.timedelta(microseconds=1), self.tz)


def local_date(moment: dt.datetime, tz: ZoneInfo) -> str:
    """The date of a moment in a zone."""
    return moment.astimezone(tz).date().isoformat()


def trade_filters(parameters: TradeQuery, principal: Principal) -> Filters:
    """The trades that are asked for, and that may be seen: a member sees their own. Raises Problem 403."""
    filters: Filters = {}
    for key in ("broker", "symbol", "strategy", "currency", "user_id"):
        value = getattr(parameters, key)
        if value is not None and value != "all":
            filters[key] = (value,)
    own = own_trades(principal)
    if own is not None and not set(filters.setdefault("user_id", own)) <= set(own):
        raise Problem(403, "user_id: members see their own trades", parameter="user_id")
    return filters


async def asked_period(
    connection: AsyncConn, parameters: TradeQuery, filters: Filters, zone: str, now: dt.datetime
) -> Period:
    """The range that is asked for, in the asked zone or else the organization's `zone`. Raises Problem 400.

    `all` begins with the first trade of those whose trades are shown: a member's with their own.
    """
    tz = ranges.asked_zone(parameters.tz, zone)
    today = now.astimezone(tz).date()
    if parameters.from_ is not None or parameters.to is not None:
        if parameters.time_range is not None:
            raise Problem(400, "time_range: stands beside from or to; one of them is enough", parameter="time_range")
        last = ranges.day(parameters.to, "to") if parameters.to is not None else today
        first = ranges.day(parameters.from_, "from") if parameters.from_ is not None else last - dt.timedelta(days=6)
        label = f"{first}/{last}"
    else:
        label = "7d" if parameters.time_range is None else parameters.time_range
        last = today
        if label == "24h":
            utc = calendar.zone("UTC")
            start = calendar.ceil(now - dt.timedelta(hours=24), "15m", utc)
            return Period(start, calendar.ceil(now, "15m", utc), tz, label)
        if label == "all":
            first = await _first_day(connection, filters.get("user_id"), tz) or today
        elif label in ranges.TIME_RANGES:
            first = last - dt.timedelta(days=ranges.TIME_RANGES[label] - 1)
        else:
            raise Problem(400, "time_range: expected 24h, 7d, 30d, 90d, 365d or all", parameter="time_range")
    if first > last:
        raise Problem(400, "from: lies after to", parameter="from")
    if label != "all" and (last - first).days >= MAX_DAYS:
        raise Problem(400, f"from: at most {MAX_DAYS} days are shown at once", parameter="from")
    return Period(calendar.midnight(first, tz), calendar.midnight(last + dt.timedelta(days=1), tz), tz, label)


async def _first_day(connection: AsyncConn, users: tuple[str, ...] | None, tz: ZoneInfo) -> dt.date | None:
    first = await first_trade(connection, users)
    return first.astimezone(tz).date() if first is not None else None


def question(
    period: Period,
    filters: Filters,
    measures: tuple[str, ...],
    group_by: tuple[str, ...],
    *,
    grain: str | None = None,
    limit: int = 10_000,
) -> Question:
    """A question to the rollup of trades about a period."""
    return Question(
        TRADE_PNL, measures, period.start, period.end, grain, period.tz, group_by, filters=filters, limit=limit
    )


async def asked_rows(connection: AsyncConn, asked: Question, remedy: str) -> list[list[Any]]:
    """All rows of a question. Raises Problem 400 where its limit cuts them: `remedy` names the parameter and what to do with it."""
    found = await ask(connection, asked)
    if found.more:
        raise Problem(400, f"{remedy}: this gives more than {asked.limit} rows", parameter=remedy.partition(":")[0])
    return found.rows
