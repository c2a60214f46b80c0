"""How the log is: what its monitor finds out and health, metrics and freshness are made of."""

from __future__ import annotations

import datetime as dt

import msgspec


class PartitionStatus(msgspec.Struct, frozen=True):
    """One partition: the end of its log, how far it is counted, how many records that leaves, and who counts them.

    `stuck_s`: for how many seconds it has had records to count and has not moved; 0 where it has none, or moves.
    `end` and `lag` are None where Kafka has not said.
    """

    kind: str
    partition: int
    end: int | None
    next: int
    lag: int | None
    owner: str | None
    stuck_s: float
    fresh_until: dt.datetime


class WorkerStatus(msgspec.Struct, frozen=True):
    """One worker: its name, the partitions it has, and how many seconds ago it was heard of."""

    name: str
    partitions: int
    seen_s: float


class LogStatus(msgspec.Struct, frozen=True):
    """All partitions and workers, at a time. `problem` is why Kafka or the database did not answer, if one did not."""

    at: dt.datetime
    partitions: list[PartitionStatus] = []
    workers: list[WorkerStatus] = []
    dead_letters: int = 0
    problem: str | None = None

    def stuck_s(self) -> float:
        """The longest time that a partition has had records to count and has not moved."""
        return max((partition.stuck_s for partition in self.partitions), default=0.0)

    def fresh_until(self, kinds: tuple[str, ...] = ()) -> dt.datetime | None:
        """What was appended before that time is counted, of these kinds or of all; None where that is not known."""
        return min((p.fresh_until for p in self.partitions if not kinds or p.kind in kinds), default=None)
