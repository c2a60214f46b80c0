"""`system` events: what a host measured of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

import msgspec

from ingest.events.envelope import Data, Event, Float, Text

MetricName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""A metric's name in snake_case; the number of different names of an organization is bounded."""

UNITS = {
    "cpu_usage": "%",
    "gpu_usage": "%",
    "memory_usage": "%",
    "disk_usage": "%",
    "network_latency": "ms",
    "active_connections": "connections",
    "response_time": "ms",
    "error_rate": "%",
    "queue_length": "items",
    "system_load": "%",
    "uptime": "%",
    "carbon_footprint": "kg CO2",
    "energy_consumption": "kWh",
    "requests": "requests",
    "response_size": "bytes",
    "requests_per_second": "requests/s",
    "api.request_time": "ms",
    "api.requests": "requests",
    "api.errors": "requests",
    "api.requests_total": "requests",
    "api.uptime_seconds": "s",
}
"""The units of the metrics known by name. Other names are welcome; their unit is their sender's."""


class System(Data):
    """One measurement of one host.

    `host`: the machine, container or service that was measured.
    `metrics`: name to value, 1 to 256 of them; each value finite and at most 1e18 in size, in the unit of `UNITS`.
    The event's `time` is when it was measured.
    """

    host: Text
    metrics: Annotated[dict[MetricName, Float], msgspec.Meta(min_length=1, max_length=256)]

    @classmethod
    def settle(cls, many: Sequence[Self]) -> bool:  # noqa: ARG003
        """The types say all there is to say."""
        return True


class SystemEvent(Event, tag="system"):
    """A CloudEvent of type `system`."""

    kind = "system"
    data: System
