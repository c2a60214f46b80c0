"""Buckets of people's time zones: days of 23 and 25 hours, offsets of :30 and :45, and how stored grains cover a range."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregators.calendar import (
    ASKED_GRAINS,
    UnknownZone,
    buckets,
    ceil,
    count_at_most,
    floor,
    following,
    midnight,
    segments,
    serves,
    zone,
)
from aggregators.rollup import GRAINS

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Australia/Eucla",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Africa/Casablanca",
    "Africa/Cairo",
)
HOUR = dt.timedelta(hours=1)
_BEGIN = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_moments = st.integers(0, 30 * 366 * 86400 * 1_000_000).map(lambda us: _BEGIN + dt.timedelta(microseconds=us))
_zones = st.sampled_from(ZONES).map(zone)


def utc(text: str) -> dt.datetime:
    """A time in UTC."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("name", "day", "start", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00", 25),
        ("Europe/Berlin", "2026-06-01", "2026-05-31T22:00", 24),
        ("America/New_York", "2026-03-08", "2026-03-08T05:00", 23),
        ("America/New_York", "2026-11-01", "2026-11-01T04:00", 25),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00", 24.5),
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30", 23.5),
        ("Asia/Kathmandu", "2026-01-01", "2025-12-31T18:15", 24),
        ("Asia/Kolkata", "2026-01-01", "2025-12-31T18:30", 24),
        ("America/St_Johns", "2026-03-08", "2026-03-08T03:30", 23),
        ("UTC", "2026-01-01", "2026-01-01T00:00", 24),
    ],
)
def test_a_day_is_the_zones_day(name: str, day: str, start: str, hours: float) -> None:
    tz, begin = zone(name), utc(start)
    end = begin + dt.timedelta(hours=hours)
    assert midnight(dt.date.fromisoformat(day), tz) == begin
    for moment in (begin, begin + HOUR * 12, end - dt.timedelta(microseconds=1)):
        assert floor(moment, "1d", tz) == begin
    assert following(begin, "1d", tz) == end
    assert floor(end, "1d", tz) == end
    assert list(buckets(begin, end, "1d", tz)) == [begin]


def test_where_clocks_jump_over_midnight_the_day_begins_with_its_first_moment() -> None:
    # In Cuba the clocks went from 00:00 to 01:00 on 8 March 2026.
    tz = zone("America/Havana")
    assert midnight(dt.date(2026, 3, 8), tz) == utc("2026-03-08T05:00")
    assert utc("2026-03-08T05:00").astimezone(tz).hour == 1


def test_a_day_that_a_zone_left_out_has_no_bucket() -> None:
    # Samoa went from 29 to 31 December 2011.
    tz = zone("Pacific/Apia")
    days = [start.astimezone(tz).day for start in buckets(utc("2011-12-29T12:00"), utc("2011-12-31T10:00"), "1d", tz)]
    assert days == [29, 31]


def test_weeks_begin_on_monday_and_months_on_their_first() -> None:
    tz = zone("Europe/Berlin")
    assert floor(utc("2026-04-01T12:00"), "1w", tz) == utc("2026-03-29T22:00")
    assert following(utc("2026-03-22T23:00"), "1w", tz) == utc("2026-03-29T22:00")
    assert floor(utc("2026-03-31T21:59"), "1mo", tz) == utc("2026-02-28T23:00")
    assert following(utc("2026-02-28T23:00"), "1mo", tz) == utc("2026-03-31T22:00")
    assert following(utc("2026-11-30T23:00"), "1mo", tz) == utc("2026-12-31T23:00")


def test_an_hour_is_the_zones_hour() -> None:
    assert floor(utc("2026-01-01T10:20"), "1h", zone("Asia/Kolkata")) == utc("2026-01-01T09:30")
    assert floor(utc("2026-01-01T10:20"), "1h", zone("Asia/Kathmandu")) == utc("2026-01-01T10:15")
    assert floor(utc("2026-01-01T10:20"), "15m", zone("Asia/Kathmandu")) == utc("2026-01-01T10:15")


@settings(max_examples=300, deadline=None)
@given(moment=_moments, grain=st.sampled_from(ASKED_GRAINS), tz=_zones)
def test_every_moment_lies_in_exactly_one_bucket(moment: dt.datetime, grain: str, tz: ZoneInfo) -> None:
    start = floor(moment, grain, tz)
    after = following(start, grain, tz)
    assert start <= moment < after
    assert floor(start, grain, tz) == start
    assert floor(after, grain, tz) == after
    assert floor(after - dt.timedelta(microseconds=1), grain, tz) == start
    assert start.utcoffset() == dt.timedelta(0)
    assert ceil(moment, grain, tz) == (start if moment == start else after)


@settings(max_examples=150, deadline=None)
@given(start=_moments, hours=st.integers(1, 24 * 40), grain=st.sampled_from(["1h", "1d", "1w", "1mo"]), tz=_zones)
def test_buckets_follow_each_other_over_a_range(start: dt.datetime, hours: int, grain: str, tz: ZoneInfo) -> None:
    end = start + HOUR * hours
    found = list(buckets(start, end, grain, tz))
    assert found[0] <= start < following(found[0], grain, tz)
    assert found[-1] < end <= following(found[-1], grain, tz)
    assert [following(one, grain, tz) for one in found[:-1]] == found[1:]
    assert len(found) <= count_at_most(start, end, grain)


@settings(max_examples=300, deadline=None)
@given(
    first=st.integers(0, 60 * 24 * 90),
    minutes=st.integers(0, 60 * 24 * 90),
    grains=st.sampled_from([("1m", "15m", "1h", "1d"), ("15m", "1d"), ("1h", "1d"), ("1d",), ("15m", "1h"), ("1m",)]),
)
def test_segments_cover_a_range_exactly_once(first: int, minutes: int, grains: tuple[str, ...]) -> None:
    finest = GRAINS[grains[0]]
    start = _BEGIN + dt.timedelta(minutes=first) // finest * finest
    end = start + dt.timedelta(minutes=minutes) // finest * finest
    found = segments(start, end, grains)
    if start == end:
        assert found == []
        return
    assert found[0][1] == start
    assert found[-1][2] == end
    assert [one[2] for one in found[:-1]] == [one[1] for one in found[1:]]
    for grain, begin, finish in found:
        assert begin < finish
        assert grain in grains
        for edge in (begin, finish):
            assert (edge - _BEGIN) % GRAINS[grain] == dt.timedelta(0)
    # No stretch of finer buckets is as long as two of a coarser grain that could have stood there.
    for grain, begin, finish in found:
        for coarser in grains[grains.index(grain) + 1 :]:
            assert finish - begin < 2 * GRAINS[coarser]


@pytest.mark.parametrize(
    ("stored", "asked", "name", "able"),
    [
        ("1d", "1d", "UTC", True),
        ("1d", "1d", "Europe/Berlin", False),
        ("1h", "1d", "Europe/Berlin", True),
        ("1h", "1d", "Asia/Kolkata", False),
        ("15m", "1d", "Asia/Kolkata", True),
        ("15m", "1d", "Asia/Kathmandu", True),
        ("15m", "1d", "Australia/Lord_Howe", True),
        ("1h", "1d", "Australia/Lord_Howe", False),
        ("1h", "1h", "Europe/Berlin", True),
        ("1h", "1h", "Asia/Kolkata", False),
        ("15m", "1h", "Asia/Kathmandu", True),
        ("1d", "1h", "UTC", False),
        ("15m", "15m", "Asia/Kathmandu", True),
        ("15m", "5m", "UTC", False),
        ("1m", "5m", "UTC", True),
        ("1h", "15m", "UTC", False),
        ("1d", "1mo", "UTC", True),
        ("1d", "1w", "Asia/Tokyo", False),
        ("1h", "1mo", "Asia/Tokyo", True),
        ("1d", None, "Asia/Kathmandu", True),
    ],
)
def test_which_stored_grains_serve_which_buckets(stored: str, asked: str | None, name: str, able: bool) -> None:
    assert serves(stored, asked, utc("2026-01-01T00:00"), utc("2027-01-01T00:00"), zone(name)) is able


@settings(max_examples=200, deadline=None)
@given(
    start=_moments,
    hours=st.integers(1, 24 * 20),
    stored=st.sampled_from(list(GRAINS)),
    asked=st.sampled_from(["15m", "1h", "1d", "1w"]),
    tz=_zones,
)
def test_a_grain_that_serves_never_straddles(
    start: dt.datetime, hours: int, stored: str, asked: str, tz: ZoneInfo
) -> None:
    end = start + HOUR * hours
    if serves(stored, asked, start, end, tz):
        for edge in buckets(start, end, asked, tz):
            if start <= edge < end:
                assert (edge - _BEGIN) % GRAINS[stored] == dt.timedelta(0)


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "../etc/passwd", "Europe/Berlin\x00", "x" * 10_000, "europe/berlin "]
)
def test_an_unknown_zone_is_named(name: str) -> None:
    with pytest.raises(UnknownZone, match="is not an IANA time zone"):
        zone(name)
