"""Buckets as people mean them: hours, days, weeks and months of a time zone, and which stored grains can serve them."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from aggregators.rollup import GRAINS

ASKED_GRAINS = ("1m", "5m", "15m", "1h", "1d", "1w", "1mo")
"""The buckets a query may ask for. A day, a week (from Monday) or a month is one of the asked zone."""

LOCAL_DAYS = ("1d", "1w", "1mo")
"""Those that begin with a day of the zone."""

_FIXED = {
    "1m": dt.timedelta(minutes=1),
    "5m": dt.timedelta(minutes=5),
    "15m": dt.timedelta(minutes=15),
    "1h": dt.timedelta(hours=1),
}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class UnknownZone(ValueError):
    """No such time zone."""


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The IANA time zone of that name. Raises UnknownZone."""
    try:
        if name in available_timezones():
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        pass
    raise UnknownZone(f"{name[:64]!r} is not an IANA time zone such as Europe/Berlin")


def floor(time: dt.datetime, grain: str, tz: ZoneInfo) -> dt.datetime:
    """The start, in UTC, of the bucket that holds `time`."""
    if grain in ("1m", "5m", "15m"):
        # Every zone's offset since 2000 is a multiple of 15 minutes, so these buckets are the same everywhere.
        return time - (time - _EPOCH) % _FIXED[grain]
    if grain == "1h":
        local = time.astimezone(tz)
        past = dt.timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        return (time - past).astimezone(dt.UTC)
    day = time.astimezone(tz).date()
    if grain == "1w":
        day -= dt.timedelta(days=day.weekday())
    elif grain == "1mo":
        day = day.replace(day=1)
    return midnight(day, tz)


def following(start: dt.datetime, grain: str, tz: ZoneInfo) -> dt.datetime:
    """The start of the next bucket after the one that starts at `start`."""
    if grain == "1h":
        # Where clocks move by half an hour the next local hour does not begin an hour later.
        return floor(start + _FIXED["1h"], grain, tz)
    if grain in _FIXED:
        return start + _FIXED[grain]
    return midnight(_following_day(start.astimezone(tz).date(), grain), tz)


def _following_day(day: dt.date, grain: str) -> dt.date:
    """The first day of the next day, week or month."""
    if grain == "1mo":
        return (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    return day + dt.timedelta(days=1 if grain == "1d" else 7)


def ceil(time: dt.datetime, grain: str, tz: ZoneInfo) -> dt.datetime:
    """The first bucket start at or after `time`."""
    start = floor(time, grain, tz)
    return start if start == time else following(start, grain, tz)


@lru_cache(maxsize=65_536)
def midnight(day: dt.date, tz: ZoneInfo) -> dt.datetime:
    """When a local day begins, in UTC; where clocks jump over midnight, the first moment of the day.

    Where they are set back over midnight, it is the moment from which on the day before does not come back: days have no holes.
    """
    local = dt.datetime.combine(day, dt.time(), tz)
    start, again = local.astimezone(dt.UTC), local.replace(fold=1).astimezone(dt.UTC)
    if again > start and (again - dt.timedelta(microseconds=1)).astimezone(tz).date() < day:
        start = again
    while start.astimezone(tz).date() < day:
        start += dt.timedelta(minutes=15)
    return start


def buckets(start: dt.datetime, end: dt.datetime, grain: str, tz: ZoneInfo) -> Iterator[dt.datetime]:
    """The starts of all buckets that touch [start, end)."""
    current = floor(start, grain, tz)
    if grain in LOCAL_DAYS:
        for year in range(current.astimezone(tz).year, end.astimezone(tz).year + 1):
            starts = _local_starts(year, grain, tz)
            yield from starts[bisect_left(starts, current) : bisect_left(starts, end)]
        return
    while current < end:
        yield current
        current = following(current, grain, tz)


@lru_cache(maxsize=4_096)
def _local_starts(year: int, grain: str, tz: ZoneInfo) -> tuple[dt.datetime, ...]:
    """The starts of the local days, weeks or months whose first day lies in a year."""
    day = dt.date(year, 1, 1)
    if grain == "1w":
        day += dt.timedelta(days=-day.weekday() % 7)
    starts: list[dt.datetime] = []
    while day.year == year:
        start = midnight(day, tz)
        # A day that a zone left out begins where the next one does.
        following_day = _following_day(day, grain)
        if start < midnight(following_day, tz):
            starts.append(start)
        day = following_day
    return tuple(starts)


def count_at_most(start: dt.datetime, end: dt.datetime, grain: str) -> int:
    """An upper bound of the number of buckets in a range, without walking it."""
    width = (
        _FIXED.get(grain)
        or {"1d": dt.timedelta(hours=23), "1w": dt.timedelta(days=6), "1mo": dt.timedelta(days=28)}[grain]
    )
    return int((end - start) / width) + 2


def serves(stored: str, asked: str | None, start: dt.datetime, end: dt.datetime, tz: ZoneInfo) -> bool:
    """Whether buckets of a stored grain never straddle two asked ones in the range."""
    if asked is None:
        return True
    width = GRAINS[stored]
    if asked in _FIXED and asked != "1h":
        return width <= _FIXED[asked] and _FIXED[asked] % width == dt.timedelta(0)
    if asked == "1h" and width > dt.timedelta(hours=1):
        return False
    return all(offset % width == dt.timedelta(0) for offset in _offsets(start, end, tz))


@lru_cache(maxsize=256)
def _offsets(start: dt.datetime, end: dt.datetime, tz: ZoneInfo) -> frozenset[dt.timedelta]:
    """The zone's offsets from UTC in a range. Sampled daily: no zone changes its clocks and back within a day."""
    found = {_offset(moment, tz) for moment in (start, end)}
    month = start.astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while month < end:
        following_month = (month + dt.timedelta(days=32)).replace(day=1)
        if start <= month and following_month <= end:
            found |= _month_offsets(month, tz)
        else:
            found.update(_offset(day, tz) for day in _days(max(start, month), min(end, following_month)))
        month = following_month
    return frozenset(found)


@lru_cache(maxsize=16_384)
def _month_offsets(month: dt.datetime, tz: ZoneInfo) -> frozenset[dt.timedelta]:
    return frozenset(_offset(day, tz) for day in _days(month, (month + dt.timedelta(days=32)).replace(day=1)))


def _days(start: dt.datetime, end: dt.datetime) -> Iterator[dt.datetime]:
    while start < end:
        yield start
        start += dt.timedelta(days=1)


def _offset(moment: dt.datetime, tz: ZoneInfo) -> dt.timedelta:
    return moment.astimezone(tz).utcoffset() or dt.timedelta(0)


def segments(start: dt.datetime, end: dt.datetime, grains: Sequence[str]) -> list[tuple[str, dt.datetime, dt.datetime]]:
    """Covers [start, end) with stored buckets: the coarsest in the middle, finer ones at the edges.

    `grains` are those that may be used, finest first; start and end must be bucket starts of the finest.
    """
    if start >= end or not grains:
        return []
    width = GRAINS[grains[-1]]
    inner_start = start + (_EPOCH - start) % width
    inner_end = end - (end - _EPOCH) % width
    if inner_start >= inner_end:
        return segments(start, end, grains[:-1])
    middle = [(grains[-1], inner_start, inner_end)]
    return segments(start, inner_start, grains[:-1]) + middle + segments(inner_end, end, grains[:-1])
