"""The bound on an organization's metric names: a million different ones are refused with a reason, and cost no memory."""

from __future__ import annotations

from uuid import UUID

import pytest

from ingest.names import MetricNames
from tests.samples import Sample, accepted, enterprise, envelope, system, trade, view

ONE, OTHER = UUID(int=1), UUID(int=2)


def measuring(*names: str, kind: str = "system") -> Sample:
    """An event that measures these."""
    data = {"metrics": dict.fromkeys(names, 1)}
    return Sample(0, envelope(kind, "e", data | ({"host": "h"} if kind == "system" else {})))


def test_a_million_names_do_not_pass_the_bound() -> None:
    names = MetricNames(limit=50)
    (event,) = accepted([system("e")])
    for number in range(50):
        event.data.metrics = {f"m{number}": 1.0}
        assert names.refusal(ONE, event) is None
    for start in range(50, 1_000_000, 250):
        event.data.metrics = {f"m{number}": 1.0 for number in range(start, start + 250)}
        assert names.refusal(ONE, event) is not None
    event.data.metrics = {"m0": 1.0, "m49": 2.0}
    assert names.refusal(ONE, event) is None
    event.data.metrics = {"m0": 1.0, "m50": 2.0}
    assert names.refusal(ONE, event) == "data.metrics.m50: the organization uses 50 different metric names already"


def test_the_bound_is_each_organizations_and_each_kinds_own() -> None:
    names = MetricNames([(ONE, "system", "a"), (ONE, "system", "b")], limit=2)
    in_system, in_enterprise = accepted([measuring("c"), measuring("c", kind="enterprise")])
    assert names.refusal(ONE, in_system) is not None
    assert names.refusal(OTHER, in_system) is None
    assert names.refusal(ONE, in_enterprise) is None


def test_an_event_that_is_refused_takes_no_place() -> None:
    names = MetricNames(limit=2)
    three, two = accepted([measuring("a", "b", "c"), measuring("a", "b")])
    assert names.refusal(ONE, three) is not None
    assert names.refusal(ONE, two) is None


@pytest.mark.parametrize("name", ["Cpu", "1st", "a b", "a-b", "_a", "ä", "a\n", "a'; drop table x", "<b>"])
def test_names_are_in_snake_case(name: str) -> None:
    (event,) = accepted([measuring("fine", name)])
    refusal = MetricNames().refusal(ONE, event)
    assert refusal is not None
    assert refusal.startswith(f"data.metrics.{name}: expected a snake_case name")


def test_kinds_without_metrics_are_not_bounded() -> None:
    names = MetricNames(limit=0)
    for event in accepted([trade("a"), view("b")]):
        assert names.refusal(ONE, event) is None
    for event in accepted([system("c"), enterprise("d")]):
        assert names.refusal(ONE, event) is not None
