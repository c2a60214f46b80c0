"""What the pipeline tells about itself: the port that the front door fills with Prometheus counters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ingest.log import Outcome


class Telemetry(Protocol):
    """Listens to the pipeline. Times are in seconds."""

    def queued(self, events: int) -> None:
        """So many events wait for the sink."""

    def committed(self, outcome: Outcome, seconds: float) -> None:
        """A group was committed."""

    def failed(self, error: BaseException) -> None:
        """A group could not be written; its senders were told so."""


class LogTelemetry(Telemetry, Protocol):
    """Listens to a worker on Kafka's log."""

    def buried(self, kind: str, count: int) -> None:
        """So many records became dead letters."""

    def forwarded(self, kind: str, count: int) -> None:
        """So many records lay in a partition that is not theirs, and were sent to the one that is."""

    def fenced(self) -> None:
        """A group was refused because a partition of it is another worker's now."""

    def offsets_lost(self, kind: str, count: int) -> None:
        """So many offsets were gone from the log before they were read."""

    def beat(self, moment: float) -> None:
        """The worker's loop went round, at this Unix time."""

    def owned(self, lags: Mapping[tuple[str, int], int]) -> None:
        """The partitions that the worker has, each with the number of records that it has not counted yet."""
