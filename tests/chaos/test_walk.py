"""Random walks: whatever happened on the way, the end is that of a run without a fault."""

from __future__ import annotations

import pytest

from tests.chaos import actions
from tests.chaos.cluster import Cluster
from tests.chaos.conftest import SECONDS, SEED
from tests.chaos.expected import assert_right
from tests.chaos.walk import planned, walk


def test_a_walk_is_the_same_for_the_same_seed() -> None:
    first, again = (planned(7, actions.KAFKA, 600) for _ in range(2))
    assert first == again
    assert first != planned(8, actions.KAFKA, 600)
    assert {step.action for step in first} == set(actions.KAFKA)


@pytest.mark.timeout(240)
def test_a_short_walk_over_the_direct_log(direct: Cluster) -> None:
    _walked(direct, 10)


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_long_walk_over_the_direct_log(direct: Cluster) -> None:
    _walked(direct, 180)


@pytest.mark.timeout(300)
def test_a_short_walk_over_kafka(scaled: Cluster) -> None:
    senders = walk(scaled, planned(SEED, actions.KAFKA, 30), SEED)
    assert_right(scaled, senders, at_least=500)


@pytest.mark.chaos
@pytest.mark.timeout(SECONDS * 3 + 300)
def test_a_long_walk_over_kafka(scaled: Cluster) -> None:
    senders = walk(scaled, planned(SEED, actions.KAFKA, SECONDS), SEED)
    assert_right(scaled, senders, at_least=1_000)


def _walked(direct: Cluster, seconds: float) -> None:
    senders = walk(direct, planned(SEED, actions.DIRECT, seconds), SEED)
    assert_right(direct, senders, at_least=300)
