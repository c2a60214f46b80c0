"""What an operator changes and what nobody chose: the number of partitions under load, clocks that are wrong, an event a year late."""

from __future__ import annotations

import datetime as dt

from tests.chaos.cluster import Cluster
from tests.chaos.conftest import SEED
from tests.chaos.expected import assert_right
from tests.chaos.walk import flowing, sent
from tests.chaos.workload import Workload
from tests.samples import Sample, system


def test_partitions_are_raised_under_load(scaled: Cluster) -> None:
    with flowing(scaled, SEED) as senders:
        sent(senders)
        scaled.command("partitions", "system", "8")
        sent(senders, 2)
    # What was counted before is still known, in whichever partition it would be now.
    for sender in senders:
        sender.send([sample for sample in sender.accepted if "sequence" not in sample.event][:500])
    assert_right(scaled, senders)


def test_what_one_clock_has_accepted_another_does_not_refuse(scaled: Cluster) -> None:
    # An API process that is 8 minutes ahead of the workers takes what is 18 minutes ahead of them; a setting stands in for its clock.
    scaled.services["api"].stop(10)
    scaled.start("api", "api", STREAMGAUGE_PORT=str(scaled.port), STREAMGAUGE_AHEAD_MINUTES="18")
    scaled.wait_until_it_answers()
    sender = scaled.sender(0)
    now = dt.datetime.now(dt.UTC)
    hosts = [
        system(f"skew-{minutes}", float(minutes), time=(now + dt.timedelta(minutes=minutes)).isoformat())
        for minutes in (-600, -10, 0, 9, 12, 17)
    ]
    sender.send([*hosts, *Workload(0, SEED).new(100)])
    assert_right(scaled, [sender])


def test_an_event_a_year_late_counts_like_any_other(scaled: Cluster) -> None:
    flow = Workload(0, SEED)
    sender = scaled.sender(0)
    for _ in range(2):
        sender.send(flow.new(60))
        late: list[Sample] = flow.late(60)
        sender.send(late)
        sender.send(late)
    assert_right(scaled, [sender])
