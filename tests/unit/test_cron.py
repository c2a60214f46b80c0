"""Cron expressions: what they mean, what is refused, and when they are due while clocks change."""

from __future__ import annotations

import datetime as dt
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given
from hypothesis import strategies as st

from aggregators.cron import BadCron, due_after, due_between, due_period, parsed
from aggregators.relative_days import RELATIVE_DAYS, relative_days

BERLIN, CHATHAM, CAIRO, UTC = (ZoneInfo(name) for name in ("Europe/Berlin", "Pacific/Chatham", "Africa/Cairo", "UTC"))


def locals_after(text: str, after: str, tz: ZoneInfo = UTC, number: int = 4) -> list[str]:
    """The next due times after a local time, with their offsets."""
    start = dt.datetime.fromisoformat(after).replace(tzinfo=tz)
    return [
        due.astimezone(tz).isoformat(timespec="minutes") for due in islice(due_after(parsed(text), tz, start), number)
    ]


# 1 March 2026 is a Sunday.
@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("0 7 * * 0", ["03-01T07:00", "03-08T07:00", "03-15T07:00"]),
        ("0 7 * * 7", ["03-01T07:00", "03-08T07:00", "03-15T07:00"]),
        ("0 7 * * SUN", ["03-01T07:00", "03-08T07:00", "03-15T07:00"]),
        ("0 7 * * 1", ["03-02T07:00", "03-09T07:00", "03-16T07:00"]),
        ("0 7 * * mon", ["03-02T07:00", "03-09T07:00", "03-16T07:00"]),
        ("0 7 * * 1-5", ["03-02T07:00", "03-03T07:00", "03-04T07:00"]),
        ("0 7 * * 5-7", ["03-01T07:00", "03-06T07:00", "03-07T07:00"]),
        ("0 7 * * sat-sun", ["03-01T07:00", "03-07T07:00", "03-08T07:00"]),
        ("0 7 * * */3", ["03-01T07:00", "03-04T07:00", "03-07T07:00"]),
        # Either the day or the weekday, where both are named; both, where one of them begins with *.
        ("0 7 13 * 5", ["03-06T07:00", "03-13T07:00", "03-20T07:00"]),
        ("0 7 */2 * 1", ["03-09T07:00", "03-23T07:00", "04-13T07:00"]),
        ("30 6,18 1 * *", ["03-01T06:30", "03-01T18:30", "04-01T06:30"]),
        ("15-45/15 9 1 jan-dec/6 *", ["07-01T09:15", "07-01T09:30", "07-01T09:45"]),
        ("*/15 0 * * *", ["03-01T00:15", "03-01T00:30", "03-01T00:45"]),
        ("0 0 31 * *", ["03-31T00:00", "05-31T00:00", "07-31T00:00"]),
        ("@hourly", ["03-01T01:00", "03-01T02:00", "03-01T03:00"]),
        ("@daily", ["03-02T00:00", "03-03T00:00", "03-04T00:00"]),
        ("@weekly", ["03-08T00:00", "03-15T00:00", "03-22T00:00"]),
        (" @Monthly ", ["04-01T00:00", "05-01T00:00", "06-01T00:00"]),
    ],
)
def test_an_expression_means_what_crontab_says(text: str, due: list[str]) -> None:
    assert locals_after(text, "2026-03-01T00:00", number=3) == [f"2026-{one}+00:00" for one in due]


def test_a_leap_day_is_waited_for() -> None:
    assert locals_after("0 0 29 2 *", "2026-03-01", number=2) == ["2028-02-29T00:00+00:00", "2032-02-29T00:00+00:00"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("0 0 7 * * *", "five fields"),
        ("@often", "@hourly"),
        ("60 * * * *", "minute: expected 0 to 59"),
        ("0 24 * * *", "hour: expected 0 to 23"),
        ("0 0 0 * *", "day of the month: expected 1 to 31"),
        ("0 0 * 13 *", "month: expected 1 to 12"),
        ("0 0 * * 8", "weekday: expected 0 to 7"),
        ("0 0 * * fry", "weekday"),
        ("0 0 * foo *", "month"),
        ("0 0 L * *", "day of the month"),
        ("0 0 * * 5#2", "weekday"),
        ("0 5-1 * * *", "ends before it begins"),
        ("0 5/2 * * *", "a step needs a range"),
        ("0 */0 * * *", "a step of 0"),
        ("0 *-5 * * *", "no range"),
        ("0 -1 * * *", "hour"),
        ("0,,30 * * * *", "minute"),
        ("٣ 0 * * *", "minute"),
        ("* * * * *", "every 15 minutes"),
        ("*/10 * * * *", "every 15 minutes"),
        ("0,50 * * * *", "every 15 minutes"),
        ("0,55 0,23 * * *", "every 15 minutes"),
        ("0 0 30 2 *", "never due"),
        ("0 0 31 4,6,9,11 *", "never due"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused_with_its_reason(text: str, says: str) -> None:
    with pytest.raises(BadCron, match=says):
        parsed(text)


def test_what_is_due_within_an_hour_only_may_be_at_both_its_ends() -> None:
    assert parsed("0,50 7 * * *").minutes == (0, 50)


@pytest.mark.parametrize(
    ("text", "tz", "after", "due"),
    [
        # Spring: a time that is left out is the first that there is after it, once.
        ("30 2 * * *", BERLIN, "2026-03-28T12:00", ["03-29T03:00+02:00", "03-30T02:30+02:00"]),
        ("0,30 2 * * *", BERLIN, "2026-03-28T12:00", ["03-29T03:00+02:00", "03-30T02:00+02:00"]),
        ("0 * * * *", BERLIN, "2026-03-29T00:30", ["03-29T01:00+01:00", "03-29T03:00+02:00", "03-29T04:00+02:00"]),
        ("15 3 * * *", CHATHAM, "2026-09-26T12:00", ["09-27T03:45+13:45", "09-28T03:15+13:45"]),
        ("0 0 * * *", CAIRO, "2026-04-23T12:00", ["04-24T01:00+03:00", "04-25T00:00+03:00"]),
        # Autumn: a time that there is twice is the first of both, also for who asks between them.
        ("30 2 * * *", BERLIN, "2026-10-24T12:00", ["10-25T02:30+02:00", "10-26T02:30+01:00"]),
        ("30 2 * * *", BERLIN, "2026-10-25T02:45", ["10-26T02:30+01:00"]),
        ("0 * * * *", BERLIN, "2026-10-25T01:30", ["10-25T02:00+02:00", "10-25T03:00+01:00"]),
        ("0 3 * * *", CHATHAM, "2026-04-04T12:00", ["04-05T03:00+13:45", "04-06T03:00+12:45"]),
    ],
)
def test_a_local_time_is_due_once_whatever_clocks_do(text: str, tz: ZoneInfo, after: str, due: list[str]) -> None:
    assert locals_after(text, after, tz, len(due)) == [f"2026-{one}" for one in due]


ITEMS = {
    "minute": ("0", "7", "15,45", "*/20", "10-40/30"),
    "hour": ("*", "2", "3", "0,12", "*/6", "22-23"),
    "day": ("*", "1", "29", "31", "10-20/5", "*/7"),
    "month": ("*", "2", "jan-mar", "10,11"),
}
MOMENTS = st.datetimes(dt.datetime(2025, 1, 1), dt.datetime(2030, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001


@given(st.tuples(*(st.sampled_from(items) for items in ITEMS.values())), MOMENTS)
def test_without_changing_clocks_it_is_what_apscheduler_says(fields: tuple[str, ...], after: dt.datetime) -> None:
    text = " ".join((*fields, "*"))
    try:
        found = list(islice(due_after(parsed(text), UTC, after), 3))
    except BadCron:
        return
    trigger, last = CronTrigger.from_crontab(text, timezone=UTC), after
    for due in found:
        expected = trigger.get_next_fire_time(None, last + dt.timedelta(microseconds=1))
        assert due == expected
        last = due


@given(
    st.sampled_from(("0,30 * * * *", "15 2,3 * * *", "@daily", "0 0 1 * 1", "45 23 29-31 * *")),
    st.sampled_from((BERLIN, CHATHAM, CAIRO, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("America/St_Johns"))),
    MOMENTS,
    st.integers(0, 24 * 90),
)
def test_backwards_it_is_the_same_and_no_local_time_comes_twice(
    text: str, tz: ZoneInfo, after: dt.datetime, hours: int
) -> None:
    until = after + dt.timedelta(hours=hours)
    forwards = []
    for due in due_after(parsed(text), tz, after):
        if due > until:
            break
        forwards.append(due)
    assert list(due_between(parsed(text), tz, after, until)) == forwards[::-1]
    assert len({due_period(due, tz) for due in forwards}) == len(forwards)


def test_days_are_named_from_the_due_day() -> None:
    def of(name: str, today: str) -> str:
        first, last = relative_days(name, dt.date.fromisoformat(today))  # type: ignore[arg-type]
        return f"{first}..{last}"

    assert {name: of(name, "2026-03-01") for name in RELATIVE_DAYS} == {
        "today": "2026-03-01..2026-03-01",
        "yesterday": "2026-02-28..2026-02-28",
        "last_7_days": "2026-02-22..2026-02-28",
        "last_30_days": "2026-01-30..2026-02-28",
        "previous_week": "2026-02-16..2026-02-22",
        "previous_month": "2026-02-01..2026-02-28",
        "previous_quarter": "2025-10-01..2025-12-31",
        "month_to_date": "2026-03-01..2026-03-01",
        "year_to_date": "2026-01-01..2026-03-01",
    }
    # ISO weeks may begin in another year; a quarter has its own months.
    assert of("previous_week", "2027-01-05") == "2026-12-28..2027-01-03"
    assert of("previous_quarter", "2026-12-31") == "2026-07-01..2026-09-30"
