"""What the pipeline tells about itself: the port that the front door fills with Prometheus counters."""

from __future__ import annotations

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
