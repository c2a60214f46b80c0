"""Which report: the days, the zone, and what narrows it; resolved into moments, with the days before that it is compared with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from aggregators import calendar
from aggregators.definitions.trade import TRADE_PNL

MAX_DAYS = 3_700
MAX_APPENDIX = 100_000


class BadParameters(ValueError):
    """A report that cannot be made; `parameter` names what is wrong with the request."""

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(f"{parameter}: {detail}")
        self.parameter = parameter


class ReportParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The days `first` to `last`, both in it, of the zone `tz` or else of the organization's.

    Of the P&L statement only: `filters` allow values of the keys of trades (a member's own trades by `user_id`), `starting_equity`
    is that of each currency, 0 where it has none, and `appendix` how many of the latest trades are listed.
    """

    first: dt.date
    last: dt.date
    tz: str | None = None
    filters: Mapping[str, tuple[str, ...]] = {}
    starting_equity: Mapping[str, Decimal] = {}
    appendix: int = 1_000


@dataclass(frozen=True)
class Span:
    """The moments of a report's days, and of as many days before them."""

    first: dt.date
    last: dt.date
    tz: ZoneInfo
    start: dt.datetime
    end: dt.datetime
    before: dt.datetime
    now: dt.datetime

    @property
    def over(self) -> bool:
        """Whether its last day has ended. Sums of a period that is not over cannot be held against those of one that is."""
        return self.now >= self.end

    def days(self) -> list[dt.datetime]:
        """The starts of its days, up to today."""
        return [day for day in calendar.buckets(self.start, self.end, "1d", self.tz) if day <= self.now]

    def date(self, day: dt.datetime) -> dt.date:
        """The local date of a moment."""
        return day.astimezone(self.tz).date()


def resolved(parameters: ReportParameters, zone: str, now: dt.datetime) -> Span:
    """The moments that are asked for. Raises BadParameters."""
    try:
        tz = calendar.zone(parameters.tz or zone)
    except calendar.UnknownZone as error:
        raise BadParameters("tz", str(error)) from None
    first, last = parameters.first, parameters.last
    if first > last:
        raise BadParameters("first", "lies after last")
    count = (last - first).days + 1
    if count > MAX_DAYS:
        raise BadParameters("first", f"a report has at most {MAX_DAYS:,} days")
    if not first.year >= 2000 or last.year >= 2100:
        raise BadParameters("first", "expected days from 2000 to 2099")
    if not 0 <= parameters.appendix <= MAX_APPENDIX:
        raise BadParameters("appendix", f"expected 0 to {MAX_APPENDIX:,}")
    unknown = set(parameters.filters) - set(TRADE_PNL.keys)
    if unknown:
        raise BadParameters("filters", f"{min(unknown)[:64]!r} is no key of trades")
    if any(value < 0 or not value.is_finite() for value in parameters.starting_equity.values()):
        raise BadParameters("starting_equity", "expected decimals of at least 0")
    return Span(
        first,
        last,
        tz,
        calendar.midnight(first, tz),
        calendar.midnight(last + dt.timedelta(days=1), tz),
        calendar.midnight(first - dt.timedelta(days=count), tz),
        now,
    )
