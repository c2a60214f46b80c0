"""Cron expressions, read in a time zone: the moments at which something is due, each local time once whatever clocks do.

What APScheduler's CronTrigger computes differs in four things, so it is not used for this: its weekdays begin with 0 for Monday, it
wants day of the month and weekday to hold both where cron wants either, it has an autumn's repeated hour twice, and it cannot go back.
"""

from __future__ import annotations

import datetime as dt
import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

SHORTEST_MINUTES = 15
"""What lies between two due times at least."""
HORIZON = dt.timedelta(days=40 * 366)
"""What is not due for so long never is: a 29 February on a given weekday comes within 40 years."""

SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES = {
    "month": {name: number for number, name in enumerate(_MONTHS, start=1)},
    "weekday": {name: number for number, name in enumerate(_WEEKDAYS)},
}
_ITEM = re.compile(r"(?P<first>\*|[0-9]{1,2}|[a-z]{3})(?:-(?P<last>[0-9]{1,2}|[a-z]{3}))?(?:/(?P<step>[0-9]{1,2}))?")


class BadCron(ValueError):
    """Not an expression that a schedule may have; the text says why."""


@dataclass(frozen=True)
class Cron:
    """What an expression says. Weekdays count from Monday, 0. `either`: a day is right by its number or by its weekday, else by both."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    def on(self, day: dt.date) -> bool:
        """Whether it is due on a day."""
        if day.month not in self.months:
            return False
        number, weekday = day.day in self.days, day.weekday() in self.weekdays
        return number or weekday if self.either else number and weekday


@lru_cache(maxsize=4_096)
def parsed(text: str) -> Cron:
    """What an expression of five fields, or a shorthand such as @daily, says. Raises BadCron.

    As crontab(5) has it: weekdays are 0 to 7, 0 and 7 being Sunday; where neither the day of the month nor the weekday begins with
    `*`, a day that fits one of them is enough.
    """
    expression = text.strip().lower()
    if expression.startswith("@"):
        if expression not in SHORTHANDS:
            raise BadCron(f"expected five fields, or one of {', '.join(SHORTHANDS)}")
        expression = SHORTHANDS[expression]
    parts = expression.split()
    if len(parts) != len(_FIELDS):
        raise BadCron("expected five fields: minute, hour, day of the month, month, weekday")
    minutes, hours, days, months, weekdays = (_values(part, *field) for part, field in zip(parts, _FIELDS, strict=True))
    found = Cron(
        tuple(sorted(minutes)),
        tuple(sorted(hours)),
        days,
        months,
        # Cron's Sunday is 0 or 7, Python's Monday is 0.
        frozenset((number - 1) % 7 for number in weekdays),
        not parts[2].startswith("*") and not parts[4].startswith("*"),
    )
    if _closest(found) < SHORTEST_MINUTES:
        raise BadCron(f"is due more often than every {SHORTEST_MINUTES} minutes")
    # 2000 was a leap year.
    if not found.either and not any(day <= monthrange(2000, month)[1] for day in days for month in months):
        raise BadCron("is never due: no month that it names has such a day")
    return found


def _values(text: str, field: str, least: int, most: int) -> frozenset[int]:
    """The numbers that a field allows."""
    names = _NAMES.get(field, {})
    found: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise BadCron(f"{field}: {item[:20]!r} is not a number, a range such as 1-5, or a step such as */2")
        step = 1 if match["step"] is None else int(match["step"])
        if match["first"] == "*":
            first, last = least, most if field != "weekday" else 6
            if match["last"] is not None:
                raise BadCron(f"{field}: {item[:20]!r} is no range")
        else:
            first = _number(match["first"], names, field)
            last = first if match["last"] is None else _number(match["last"], names, field)
            if match["step"] is not None and match["last"] is None:
                raise BadCron(f"{field}: a step needs a range, such as {first}-{most}/{step} or */{step}")
            # A week that is written as mon-sun ends with its Sunday.
            last = 7 if field == "weekday" and match["last"] == "sun" else last
        if step == 0:
            raise BadCron(f"{field}: a step of 0 goes nowhere")
        if not (least <= first <= most and least <= last <= most):
            raise BadCron(f"{field}: expected {least} to {most}")
        if last < first:
            raise BadCron(f"{field}: {item[:20]!r} ends before it begins")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, names: dict[str, int], field: str) -> int:
    if text.isdigit():
        return int(text)
    if text not in names:
        raise BadCron(f"{field}: {text!r} is no name of one")
    return names[text]


def _closest(cron: Cron) -> int:
    """The fewest minutes between two due times; days are taken to follow each other."""
    gaps = [after - before for before, after in zip(cron.minutes, cron.minutes[1:], strict=False)]
    if any((hour + 1) % 24 in cron.hours for hour in cron.hours):
        gaps.append(60 - cron.minutes[-1] + cron.minutes[0])
    return min(gaps, default=60)


def moment_of(local: dt.datetime, tz: ZoneInfo) -> dt.datetime:
    """When a local time is, in UTC: the first time where clocks are set back over it, the next there is where they jump over it."""
    while True:
        found = local.replace(tzinfo=tz, fold=0).astimezone(dt.UTC)
        if found.astimezone(tz).replace(tzinfo=None) == local:
            return found
        local += dt.timedelta(minutes=1)


def due_period(due: dt.datetime, tz: ZoneInfo) -> dt.datetime:
    """The local time of a due moment, without a zone: what a run is known by."""
    return due.astimezone(tz).replace(tzinfo=None)


def due_day(cron: Cron, tz: ZoneInfo, due: dt.datetime) -> dt.date:
    """The day that the expression names for a due moment: the one before, where clocks jump over its last hour, and midnight is due."""
    day = due_period(due, tz).date()
    before = day - dt.timedelta(days=1)
    for named in (day, before):
        if cron.on(named) and due in _of_day(cron, tz, named):
            return named
    return day


def due_after(cron: Cron, tz: ZoneInfo, after: dt.datetime) -> Iterator[dt.datetime]:
    """The due moments after `after`, in UTC, as far as HORIZON."""
    # A day's first local time may be after a moment that is still the day before elsewhere in the clocks' change.
    day = after.astimezone(tz).date() - dt.timedelta(days=1)
    end = day + HORIZON
    last = after
    while day < end and day.year < 9_999:
        if day.month not in cron.months:
            day = (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
            continue
        if cron.on(day):
            for due in _of_day(cron, tz, day):
                if due > last:
                    last = due
                    yield due
        day += dt.timedelta(days=1)


def due_between(cron: Cron, tz: ZoneInfo, after: dt.datetime, until: dt.datetime) -> Iterator[dt.datetime]:
    """The due moments after `after` up to `until`, the latest first, in UTC: as many as are taken are computed."""
    day, first = until.astimezone(tz).date() + dt.timedelta(days=1), after.astimezone(tz).date() - dt.timedelta(days=1)
    next_ = until + dt.timedelta(microseconds=1)
    while day >= first:
        if cron.on(day):
            for due in reversed(_of_day(cron, tz, day)):
                if after < due < next_:
                    next_ = due
                    yield due
        day -= dt.timedelta(days=1)


def _of_day(cron: Cron, tz: ZoneInfo, day: dt.date) -> list[dt.datetime]:
    return [
        moment_of(dt.datetime.combine(day, dt.time(hour, minute)), tz) for hour in cron.hours for minute in cron.minutes
    ]
