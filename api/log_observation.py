"""Kafka's log in figures for Prometheus: lag by partition, dead letters, what was forwarded, fenced or lost."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter, Gauge

from api.observation import Observation
from ingest.log import Outcome
from ingest.log_status import LogStatus


class LogObservation:
    """A worker's telemetry (ingest.telemetry.LogTelemetry), and what the monitor of an API process tells."""

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        self.lag = self._gauge(
            "log_lag_events", "Records of a partition that are not counted yet.", ["kind", "partition"]
        )
        self.stuck = self._gauge(
            "log_stuck_seconds",
            "Seconds that a partition has had records to count and has not moved.",
            ["kind", "partition"],
        )
        self.next = self._gauge("log_next_offset", "Offset up to which a partition is counted.", ["kind", "partition"])
        self.workers = self._gauge("log_workers", "Workers that have partitions.")
        self.in_hand = self._gauge("log_in_hand_events", "Events of the group that a worker is writing.")
        self.last_beat = self._gauge("worker_beat_timestamp_seconds", "When the worker's loop last went round.")
        self.dead = self._counter("dead_letters", "Records that were put away uncounted.", ["kind"])
        self.waiting = self._gauge("dead_letters_waiting", "Dead letters that were not sent again.")
        self.strays = self._counter("log_forwarded", "Records sent on to the partition that they belong to.", ["kind"])
        self.fences = self._counter("log_fenced", "Groups refused because a partition is another worker's now.")
        self.lost = self._counter(
            "log_offsets_lost", "Offsets that were gone from the log before they were read.", ["kind"]
        )
        self._owned: set[tuple[str, int]] = set()

    def _counter(self, name: str, doc: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"streamgauge_{name}", doc, labels or [], registry=self._observation.registry)

    def _gauge(self, name: str, doc: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(
            f"streamgauge_{name}",
            doc,
            labels or [],
            registry=self._observation.registry,
            multiprocess_mode="livemostrecent",
        )

    def watched(self, status: LogStatus) -> None:
        """The monitor has looked."""
        for one in status.partitions:
            place = one.kind, str(one.partition)
            if one.lag is not None:
                self.lag.labels(*place).set(one.lag)
            self.stuck.labels(*place).set(one.stuck_s)
            self.next.labels(*place).set(one.next)
        self.workers.set(len(status.workers))
        self.waiting.set(status.dead_letters)

    def queued(self, events: int) -> None:
        """So many events are being written."""
        self.in_hand.set(events)

    def committed(self, outcome: Outcome, seconds: float) -> None:
        """A group was committed."""
        self._observation.committed(outcome, seconds)

    def failed(self, error: BaseException) -> None:
        """A group could not be written yet."""
        self._observation.failed(error)

    def buried(self, kind: str, count: int) -> None:
        """So many records became dead letters."""
        self.dead.labels(kind).inc(count)

    def forwarded(self, kind: str, count: int) -> None:
        """So many records were sent to their own partition."""
        self.strays.labels(kind).inc(count)

    def fenced(self) -> None:
        """A group was refused."""
        self.fences.inc()

    def offsets_lost(self, kind: str, count: int) -> None:
        """So many offsets were gone."""
        self.lost.labels(kind).inc(count)

    def beat(self, moment: float) -> None:
        """The worker's loop went round."""
        self.last_beat.set(moment)

    def owned(self, lags: Mapping[tuple[str, int], int]) -> None:
        """The worker's own partitions; those of others are theirs to tell."""
        if not self._observation.shared:  # there the API processes tell of every partition
            for kind, partition in self._owned - lags.keys():
                self.lag.remove(kind, str(partition))
        self._owned = set(lags)
        for (kind, partition), events in lags.items():
            self.lag.labels(kind, str(partition)).set(events)
