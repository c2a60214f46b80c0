"""Deliveries of reports in figures for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter

from api.observation import Observation


class DeliveryObservation:
    """Counts attempts to hand a report over, by the recipient's kind and by what became of them."""

    def __init__(self, observation: Observation) -> None:
        self._attempts = Counter(
            "streamgauge_report_deliveries",
            "Attempts to hand a report to a recipient: delivered, postponed, dead or cancelled.",
            ["kind", "outcome"],
            registry=observation.registry,
        )
        # A series that is there from the start is one whose first increase is seen.
        for kind in ("mail", "webhook", "store"):
            for outcome in ("delivered", "postponed", "dead", "cancelled"):
                self._attempts.labels(kind, outcome)

    def counted(self, kind: str, outcome: str) -> None:
        """An attempt came to its end."""
        self._attempts.labels(kind, outcome).inc()
