"""The demo: plausible, complete, and the same again for the same seed and time."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from decimal import Decimal
from itertools import pairwise
from random import Random

import msgspec
import pytest

from ingest.collectors.demo import Demo
from ingest.events import Event
from ingest.events.decode import Limits, decode
from ingest.events.enterprise import UNITS as ENTERPRISE
from ingest.events.envelope import decimal
from ingest.events.system import UNITS as SYSTEM

NOW = dt.datetime(2026, 11, 20, 15, 4, 7, 500_000, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def week() -> list[Event]:
    return [event for batch in Demo(Random(7)).history(NOW, 7) for event in batch]


def ticks(seconds: int) -> list[Event]:
    demo = Demo(Random(7))
    return [event for at in range(1, seconds + 1) for event in demo.tick(NOW + dt.timedelta(seconds=at))]


def test_acceptance_changes_and_refuses_nothing(week: list[Event]) -> None:
    events = week + ticks(120)
    for start in range(0, len(events), 5_000):
        part = events[start : start + 5_000]
        decoded = decode(
            msgspec.json.encode(part), "application/json", now=NOW + dt.timedelta(minutes=5), limits=Limits()
        )
        assert not decoded.rejected
        assert decoded.events == part


def test_the_same_seed_and_time_give_the_same_events(week: list[Event]) -> None:
    assert [event for batch in Demo(Random(7)).history(NOW, 7) for event in batch] == week
    assert [event for batch in Demo(Random(8)).history(NOW, 7) for event in batch] != week


def test_a_later_start_repeats_what_was_and_adds_what_was_missed(week: list[Event]) -> None:
    def identity(event: Event) -> tuple[str, str, str]:
        return event.kind, event.source, event.id

    later = [event for batch in Demo(Random(7)).history(NOW + dt.timedelta(days=2), 9) for event in batch]
    assert later[: len(week)] == week
    assert len({identity(event) for event in later}) == len(later)


def test_sequences_rise_through_the_past_and_the_seconds_after_it(week: list[Event]) -> None:
    of_source: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in week + ticks(600):
        of_source[event.kind, event.source].append(event)
    assert all(source.startswith("demo/") for _, source in of_source)
    for events in of_source.values():
        numbers = [int(event.sequence or 0) for event in events]
        assert all(before < after for before, after in pairwise(numbers))
        assert [event.id for event in events] == [str(number) for number in numbers]


def test_the_past_ends_where_the_seconds_begin(week: list[Event]) -> None:
    second = NOW.replace(microsecond=0)
    assert second - dt.timedelta(days=7) <= week[0].time
    assert week[-1].time < second
    assert all(second <= event.time < second + dt.timedelta(seconds=600) for event in ticks(600))


def test_batches_are_bounded() -> None:
    sizes = [len(batch) for batch in Demo(Random(7)).history(NOW, 7)]
    assert max(sizes) == 1_000
    assert min(sizes) > 0


def test_every_figure_of_the_dashboards_is_there(week: list[Event]) -> None:
    names: dict[str, set[str]] = defaultdict(set)
    for event in week:
        if event.kind in ("system", "enterprise"):
            names[event.kind] |= event.data.metrics.keys()
    assert names["enterprise"] == ENTERPRISE.keys()
    of_servers = {name for name in SYSTEM if name.startswith("api.")} | {"requests_per_second"}
    assert names["system"] == SYSTEM.keys() - {"requests", "response_size"} - of_servers
    assert {event.data.team_type for event in week if event.kind == "enterprise"} == {None, "database", "ml", "backend"}


def test_there_is_something_to_see(week: list[Event]) -> None:
    trades = [event.data for event in week if event.kind == "trade"]
    assert {trade.currency for trade in trades} == {"USD", "EUR"}
    assert len({trade.user_id for trade in trades}) == 8
    won = sum(decimal(trade.pnl) > decimal(trade.fees) for trade in trades) / len(trades)
    assert 0.4 < won < 0.7
    views = [event.data for event in week if event.kind == "view"]
    assert len({view.video_id for view in views}) == 30
    assert len({view.creator_id for view in views}) == 12
    actions = Counter(view.action for view in views)
    assert actions["view"] > actions["complete"] > actions["like"] > actions["dislike"] > 0
    assert {event.data.host for event in week if event.kind == "system"} == {"demo-web-1", "demo-ml-1", "demo-db-1"}


def test_days_are_busier_than_nights_and_totals_only_grow(week: list[Event]) -> None:
    load: dict[int, list[float]] = defaultdict(list)
    revenue: list[Decimal] = []
    for event in week:
        if event.kind == "system" and event.data.host == "demo-web-1":
            load[event.time.hour].append(event.data.metrics["cpu_usage"])
        if event.kind == "enterprise" and event.data.team_type is None:
            revenue.append(event.data.metrics["revenue_generated"])
    mean = {hour: sum(values) / len(values) for hour, values in load.items()}
    assert mean[15] > 1.5 * mean[3]
    assert revenue == sorted(revenue)
    assert all(0 <= value <= 100 for values in load.values() for value in values)
