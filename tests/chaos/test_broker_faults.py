"""The broker crashes, freezes and is away: senders are told to come again, and what was accepted is counted once."""

from __future__ import annotations

import json
import time

import pytest

from tests.chaos import topics
from tests.chaos.cluster import Cluster
from tests.chaos.conftest import SEED
from tests.chaos.expected import assert_right
from tests.chaos.walk import flowing, sent
from tests.chaos.workload import Workload
from tests.service_process import wait_until


@pytest.mark.chaos
def test_the_broker_is_killed_and_comes_back(scaled: Cluster) -> None:
    assert scaled.broker is not None
    with flowing(scaled, SEED) as senders:
        sent(senders)
        scaled.broker.kill()
        scaled.broker.start()
        sent(senders)
    assert_right(scaled, senders)
    assert all(service.child.is_running() for service in scaled.services.values())


def test_the_broker_is_away_for_seconds(scaled: Cluster) -> None:
    _away(scaled, 5)


@pytest.mark.chaos
@pytest.mark.timeout(400)
def test_the_broker_is_away_for_a_minute(scaled: Cluster) -> None:
    _away(scaled, 60)


def _away(cluster: Cluster, seconds: float) -> None:
    assert cluster.broker is not None
    with flowing(cluster, SEED) as senders:
        sent(senders)
        cluster.broker.kill()
        began = time.monotonic()
        wait_until(lambda: all(one.answers.unavailable >= 2 for one in senders), "senders to be told to come again", 60)
        cluster.ended.wait(max(0, seconds - (time.monotonic() - began)))
        cluster.broker.start()
        sent(senders)
    # The service itself was there all the time: it said so, with Retry-After, and never left anybody without an answer.
    assert all(sender.answers.unreachable == 0 for sender in senders)
    assert_right(cluster, senders)


@pytest.mark.chaos
def test_a_frozen_broker_is_not_waited_for_without_end(scaled: Cluster) -> None:
    assert scaled.broker is not None
    with flowing(scaled, SEED) as senders:
        sent(senders)
        scaled.broker.freeze()
        wait_until(lambda: all(one.answers.unavailable for one in senders), "senders to be told to come again", 60)
        scaled.broker.thaw()
        sent(senders)
    assert_right(scaled, senders)


def test_records_that_retention_took_are_told_of_and_the_rest_is_counted(scaled: Cluster) -> None:
    for name in ("worker-1", "worker-2"):
        assert scaled.services[name].stop(10) == 0
    sender = scaled.sender(0)
    sender.send([sample for sample in Workload(0, SEED).new(600) if sample.event["type"] == "system"])
    written = topics.values(scaled, "system")
    cuts = {("system", partition): len(found) // 2 for partition, found in written.items()}
    topics.delete_before(scaled, cuts)
    gone = {json.loads(value)["id"] for (_, number), cut in cuts.items() for value in written[number][:cut]}
    sender.accepted = [sample for sample in sender.accepted if sample.event["id"] not in gone]
    assert gone
    for name in ("worker-1", "worker-2"):
        scaled.services[name].start()
    assert_right(scaled, [sender], at_least=50)
    said = [
        json.loads(line)
        for name in ("worker-1", "worker-2")
        for line in scaled.services[name].log().splitlines()
        if '"log_offsets_lost"' in line
    ]
    assert sum(line["lost"] for line in said) == len(gone)
    assert {line["level"] for line in said} == {"error"}
