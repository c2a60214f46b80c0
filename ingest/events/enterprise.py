"""`enterprise` events: business and operational levels as an organization reports them."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import msgspec

from ingest.events.envelope import Data, Event, exact
from ingest.events.system import MetricName

UNITS = {
    "model_accuracy": "%",
    "processing_speed": "frames/s",
    "system_uptime": "%",
    "success_rate": "%",
    "response_time": "ms",
    "average_response_time": "ms",
    "queue_length": "items",
    "concurrent_comparisons": "comparisons",
    "data_throughput": "MB/s",
    "total_comparisons": "comparisons",
    "models_compared": "models",
    "active_users": "users",
    "models_uploaded": "models",
    "revenue_generated": "currency",
    "cost_savings": "currency",
    "customer_satisfaction": "points of 5",
    "total_carbon_saved": "kg CO2",
    "green_score": "points of 100",
    "energy_efficiency": "%",
    "renewable_energy_usage": "%",
    "carbon_offset": "kg CO2",
    "queries_per_second": "1/s",
    "error_rate": "%",
    "models_deployed": "models",
    "inference_requests": "requests",
    "average_accuracy": "%",
    "api_requests": "requests",
    "uptime": "%",
}
"""The units of the metrics known by name."""


class Enterprise(Data):
    """One report of an organization's figures.

    `metrics`: name to value, 1 to 256 of them. Revenue is among them, so values are exact decimals of at most 18 digits before
    and 18 after the point.
    `team_type`: the team that the figures belong to (database, ml, backend, frontend, …); absent for the whole organization.
    The event's `time` is when the figures were taken.
    """

    metrics: Annotated[dict[MetricName, Decimal], msgspec.Meta(min_length=1, max_length=256)]
    team_type: Annotated[str, msgspec.Meta(min_length=1, max_length=50)] | None = None

    def check(self) -> None:
        """Checks that every value is exact."""
        for name, value in self.metrics.items():
            self.metrics[name] = exact(f"data.metrics.{name}", value)


class EnterpriseEvent(Event, tag="enterprise"):
    """A CloudEvent of type `enterprise`."""

    kind = "enterprise"
    data: Enterprise
