"""Days as they are named from another day: yesterday, the week before, the month so far."""

from __future__ import annotations

import datetime as dt
from typing import Literal, get_args

RelativeDays = Literal[
    "today",
    "yesterday",
    "last_7_days",
    "last_30_days",
    "previous_week",
    "previous_month",
    "previous_quarter",
    "month_to_date",
    "year_to_date",
]
RELATIVE_DAYS: tuple[RelativeDays, ...] = get_args(RelativeDays)


def relative_days(name: RelativeDays, today: dt.date) -> tuple[dt.date, dt.date]:
    """The first and the last day, both in it.

    `last_7_days` and `last_30_days` end with the day before; weeks are those of ISO 8601, from Monday; `month_to_date` and
    `year_to_date` end with the day itself.
    """
    yesterday, month = today - dt.timedelta(days=1), today.replace(day=1)
    if name == "today":
        return today, today
    if name == "yesterday":
        return yesterday, yesterday
    if name == "last_7_days":
        return today - dt.timedelta(days=7), yesterday
    if name == "last_30_days":
        return today - dt.timedelta(days=30), yesterday
    if name == "previous_week":
        monday = today - dt.timedelta(days=today.weekday())
        return monday - dt.timedelta(days=7), monday - dt.timedelta(days=1)
    if name == "previous_month":
        last = month - dt.timedelta(days=1)
        return last.replace(day=1), last
    if name == "previous_quarter":
        quarter = month.replace(month=month.month - (month.month - 1) % 3)
        last = quarter - dt.timedelta(days=1)
        return last.replace(month=last.month - 2, day=1), last
    return (month if name == "month_to_date" else month.replace(month=1)), today
