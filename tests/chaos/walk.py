"""A random walk through the faults of an installation: seeded, so that it can be walked again, and bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random

from tests.chaos.cluster import Cluster
from tests.chaos.sender import Background, Sender
from tests.chaos.workload import Workload
from tests.service_process import wait_until

BATCH = 40
PAUSE_S = 0.15
"""Between two batches of a sender: about 250 events a second and organization, so that the faults and not the load are the test."""


@dataclass(frozen=True)
class Action:
    """Something that happens to an installation, and how often among the others."""

    name: str
    weight: int
    do: Callable[[Cluster, Random], None]


@dataclass(frozen=True)
class Step:
    """An action, and how long nothing happens before it."""

    pause_s: float
    action: Action
    seed: int


def planned(seed: int, actions: Sequence[Action], seconds: float) -> list[Step]:
    """The steps of a walk of about so many seconds: the same for the same seed."""
    random = Random(seed)
    steps: list[Step] = []
    left = seconds
    while left > 0:
        (action,) = random.choices(actions, [action.weight for action in actions])
        step = Step(random.uniform(0.5, 3.0), action, random.getrandbits(32))
        steps.append(step)
        # An action takes about as long as the pause before it.
        left -= 2 * step.pause_s
    return steps


def walk(cluster: Cluster, steps: Sequence[Step], seed: int) -> list[Sender]:
    """Sends events of two organizations while the steps are walked; returns the senders once all that they sent is accepted.

    Prints the seed and each step when it is walked.
    """
    begun = time.monotonic()
    print(f"walk: seed {seed}, {len(steps)} steps")
    with flowing(cluster, seed) as senders:
        for step in steps:
            quiet(cluster, step.pause_s)
            print(f"walk: {time.monotonic() - begun:6.1f} s {step.action.name}", flush=True)
            step.action.do(cluster, Random(step.seed))
        quiet(cluster, 1.0)
    return senders


@contextmanager
def flowing(cluster: Cluster, seed: int) -> Iterator[list[Sender]]:
    """Sends events of both organizations while the block runs, and after it until all that was sent is accepted."""
    stop = threading.Event()
    senders = [cluster.sender(number) for number in range(2)]
    flows = [Workload(number, seed) for number in range(2)]
    lulls = [Random(f"{seed}/lull/{number}") for number in range(2)]

    def flow(number: int) -> None:
        while not stop.is_set():
            _next_batch(senders[number], flows[number], lulls[number])
            stop.wait(PAUSE_S)

    with Background(partial(flow, 0)), Background(partial(flow, 1)):
        try:
            yield senders
        finally:
            stop.set()


def sent(senders: list[Sender], batches: int = 4) -> None:
    """Returns when each sender has had so many more batches accepted."""
    goals = [sender.answers.taken + batches for sender in senders]
    wait_until(
        lambda: all(one.answers.taken >= goal for one, goal in zip(senders, goals, strict=True)),
        "events to be taken",
        60,
    )


def _next_batch(sender: Sender, flow: Workload, random: Random) -> None:
    """Mostly new events; now and then what was accepted before, what happened a year ago, or what must be refused."""
    match random.choices(("new", "repeated", "late", "garbled"), (70, 14, 8, 8))[0]:
        case "repeated" if sender.accepted:
            sender.send(flow.repeated(sender.accepted, BATCH // 2))
        case "late":
            sender.send(flow.late(BATCH // 4))
        case "garbled":
            sender.send_garbled(flow.garbled(3), flow.new(BATCH // 4))
        case _:
            sender.send(flow.new(BATCH))


def quiet(cluster: Cluster, seconds: float) -> None:
    """Lets time pass, in which what ended by itself is started again."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        cluster.keep()
        cluster.ended.wait(min(left, 0.25))
