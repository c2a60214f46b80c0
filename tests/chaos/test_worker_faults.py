"""Workers die, freeze and come and go: what they had in hand is counted by another, once."""

from __future__ import annotations

import pytest

from tests.chaos.cluster import Cluster, Service
from tests.chaos.conftest import SEED
from tests.chaos.database import Blocker
from tests.chaos.expected import assert_right, number_of, wait_until_counted
from tests.chaos.sender import Sender
from tests.chaos.walk import flowing, sent
from tests.chaos.workload import Workload
from tests.service_process import wait_until


def batch(cluster: Cluster, flow: Workload) -> Sender:
    """A sender that has had events of all kinds accepted."""
    sender = cluster.sender(flow.organization)
    sender.send(flow.new(120))
    return sender


STEPS = ("log_partition", "event_system", "rollup_system_metrics_1m", "feed")
"""Tables in the order in which a transaction comes to them: it moves the position, and counts up to the feed."""


def test_workers_killed_before_the_database_has_committed(scaled: Cluster) -> None:
    flow = Workload(0, SEED)
    senders = []
    for step in STEPS:
        with Blocker(scaled.database_url, step) as blocker:
            senders.append(batch(scaled, flow))
            wait_until(blocker.is_waited_for, f"a worker to come to {step}")
            for worker in _workers(scaled):
                worker.kill()
        for name in ("worker-1", "worker-2"):
            scaled.services[name].start()
        scaled.wait_until_owned()
        wait_until_counted(scaled, senders)
    assert_right(scaled, senders)


def test_workers_killed_between_the_database_s_commit_and_kafka_s(scaled: Cluster) -> None:
    assert scaled.broker is not None
    flow = Workload(0, SEED)
    with Blocker(scaled.database_url, "feed") as blocker:
        senders = [batch(scaled, flow)]
        wait_until(blocker.is_waited_for, "a worker to come to its last step")
        # From here on nobody can tell Kafka anything.
        scaled.broker.freeze()
    wait_until(lambda: number_of(scaled), "the database to commit")
    for worker in _workers(scaled):
        worker.kill()
    scaled.broker.thaw()
    for worker in (scaled.services["worker-1"], scaled.services["worker-2"]):
        worker.start()
    senders.append(batch(scaled, flow))
    assert_right(scaled, senders)


def test_a_worker_frozen_for_longer_than_its_session_is_replaced(scaled: Cluster) -> None:
    flow = Workload(0, SEED)
    frozen = scaled.services["worker-1"]
    frozen.child.freeze()
    senders = [batch(scaled, flow)]
    wait_until_counted(scaled, senders)
    frozen.child.thaw()
    senders.append(batch(scaled, flow))
    scaled.wait_until_owned()
    senders.append(batch(scaled, flow))
    assert_right(scaled, senders)
    assert frozen.child.is_running(), frozen.log()


# Silent between two statements it is noticed after 10 s, in the middle of a pipeline after a minute (PostgreSQL 17).
@pytest.mark.chaos
@pytest.mark.parametrize("step", ["feed", "log_partition"])
def test_a_worker_frozen_in_its_transaction_is_replaced_and_refused_when_it_wakes(scaled: Cluster, step: str) -> None:
    flow = Workload(0, SEED)
    scaled.services["worker-2"].stop(10)
    scaled.wait_until_owned()
    frozen = scaled.services["worker-1"]
    with Blocker(scaled.database_url, step) as blocker:
        senders = [batch(scaled, flow)]
        wait_until(blocker.is_waited_for, f"the worker to come to {step}")
        frozen.child.freeze()
    # It may have to be started more than once: what the other has locked it must wait for.
    scaled.services["worker-2"].start()
    wait_until_counted(scaled, senders, 100)
    senders.append(batch(scaled, flow))
    frozen.child.thaw()
    wait_until(lambda: "group_fenced" in frozen.log(), "the worker that woke up to be refused", 30)
    senders.append(batch(scaled, flow))
    assert_right(scaled, senders)
    assert frozen.child.is_running(), frozen.log()


def test_workers_come_and_go_all_the_time(scaled: Cluster) -> None:
    third = scaled.start("worker-3", "worker")
    with flowing(scaled, SEED) as senders:
        for _ in range(2):
            scaled.wait_until_owned()
            sent(senders, 3)
            assert third.stop(10) == 0, third.log()
            sent(senders, 3)
            third.start()
    assert_right(scaled, senders)
    assert all(service.unexpected_ends == [] and service.child.is_running() for service in _workers(scaled))


def _workers(cluster: Cluster) -> list[Service]:
    return [service for name, service in cluster.services.items() if name.startswith("worker") and service.running]
