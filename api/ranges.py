"""Times, dates and ranges as people write them in a URL, in their zone."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated
from zoneinfo import ZoneInfo

from aggregators import calendar
from api.errors import Problem
from api.routing import described

_RELATIVE = re.compile(r"now(?:-(\d{1,6})(m|h|d))?").fullmatch
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_UNITS = {"m": dt.timedelta(minutes=1), "h": dt.timedelta(hours=1), "d": dt.timedelta(days=1)}
_FIRST, _LAST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC), dt.datetime(2100, 1, 1, tzinfo=dt.UTC)

Moment = Annotated[str, described("2026-01-05", "2026-01-05T10:00:00Z", "now-15m")]
"""A date or a time, as `moment` reads it."""
Day = Annotated[str, described("2026-01-05", pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
"""A date, as `day` reads it."""
Zone = Annotated[str, described("UTC", "Europe/Berlin", "Asia/Kathmandu")]
"""An IANA time zone, as `asked_zone` reads it."""

TIME_RANGES = {"24h": 1, "7d": 7, "30d": 30, "90d": 90, "365d": 365}
"""`time_range` in local days, today included (24h: the last 24 hours)."""


DASHBOARD_RANGES = ("24h", "7d", "30d", "90d")
"""Those that ModelCompare's front end asks for, as `timeRange`."""
DashboardRange = Annotated[str, described(enum=DASHBOARD_RANGES)]
TimeRange = Annotated[str, described(enum=(*TIME_RANGES, "all"))]


def dashboard_range(text: str, tz: ZoneInfo, now: dt.datetime, grain: str) -> tuple[dt.datetime, dt.datetime]:
    """Where a `timeRange` begins and ends, in UTC; raises Problem 400.

    `24h` is the bucket of `grain` (an hour of the zone, or less) that is running and those of the 24 hours before; of hours there are
    24, save where a zone moves its clocks by half of one. The others are local days, today included.
    """
    if text not in DASHBOARD_RANGES:
        raise Problem(400, f"timeRange: expected {', '.join(DASHBOARD_RANGES)}", parameter="timeRange")
    if text == "24h":
        running = calendar.floor(now, grain, tz)
        end = calendar.following(running, grain, tz)
        return calendar.floor(end - dt.timedelta(hours=24), grain, tz), end
    today = now.astimezone(tz).date()
    first = today - dt.timedelta(days=TIME_RANGES[text] - 1)
    return calendar.midnight(first, tz), calendar.midnight(today + dt.timedelta(days=1), tz)


def asked_zone(text: str | None, default: str) -> ZoneInfo:
    """The zone of a `tz` parameter; raises Problem 400."""
    try:
        return calendar.zone(text or default)
    except calendar.UnknownZone as error:
        raise Problem(400, f"tz: {error}", parameter="tz") from None


def moment(text: str, parameter: str, tz: ZoneInfo, now: dt.datetime) -> dt.datetime:
    """A time in UTC from `2026-01-05`, `2026-01-05T10:00`, RFC 3339, `now` or `now-15m`. Without an offset it is local."""
    relative = _RELATIVE(text)
    if relative:
        past = int(relative[1]) * _UNITS[relative[2]] if relative[1] else dt.timedelta(0)
        return _bounded(now - past if past < dt.timedelta(days=36_500) else _FIRST - _UNITS["d"], parameter)
    try:
        if _DATE(text):
            return _bounded(calendar.midnight(dt.date.fromisoformat(text), tz), parameter)
        found = dt.datetime.fromisoformat(text.replace(" ", "+") if "+" not in text and text.count(" ") == 1 else text)
        return _bounded((found if found.tzinfo else found.replace(tzinfo=tz)).astimezone(dt.UTC), parameter)
    except (ValueError, OverflowError):
        detail = f"{parameter}: expected a date or a time such as 2026-01-05, 2026-01-05T10:00:00Z or now-15m"
        raise Problem(400, detail, parameter=parameter) from None


def _bounded(time: dt.datetime, parameter: str) -> dt.datetime:
    if not _FIRST <= time <= _LAST:
        raise Problem(400, f"{parameter}: expected a time from 2000 to 2100", parameter=parameter)
    return time


def ordered(start: dt.datetime, end: dt.datetime) -> None:
    """Raises Problem 400 for a range that ends before it starts."""
    if start >= end:
        raise Problem(400, "from: must lie before to", parameter="from")


def day(text: str, parameter: str) -> dt.date:
    """A calendar date; raises Problem 400."""
    try:
        found = dt.date.fromisoformat(text) if _DATE(text) else None
    except ValueError:
        found = None
    if found is None:
        raise Problem(400, f"{parameter}: expected a date such as 2026-01-31", parameter=parameter)
    if not 2000 <= found.year < 2100:
        raise Problem(400, f"{parameter}: expected a date from 2000 to 2099", parameter=parameter)
    return found
