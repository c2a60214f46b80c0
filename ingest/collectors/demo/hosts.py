"""The demo's hosts: what a web server, a GPU machine and a database would measure of themselves."""

from __future__ import annotations

import msgspec

from ingest.collectors.demo.wave import DAY, Waves, activity


class Host(msgspec.Struct, frozen=True):
    """A simulated machine. `idle` and `busy` are its CPU load in % at night and at noon, `watts` what it draws at full load."""

    name: str
    idle: float
    busy: float
    memory: float
    watts: float
    gpu: bool = False


HOSTS = (
    Host("demo-web-1", 8.0, 62.0, 48.0, 180.0),
    Host("demo-ml-1", 15.0, 78.0, 66.0, 620.0, gpu=True),
    Host("demo-db-1", 12.0, 45.0, 74.0, 240.0),
)

_CARBON = 0.35  # kg CO2 a kWh, about the mean of the European grid


def measure(host: Host, time: float, waves: Waves) -> dict[str, float]:
    """Returns the host's metrics at a time, in the units of `ingest.events.system.UNITS`; energy and carbon are those of a day."""

    def walk(metric: str, longest: float = DAY) -> float:
        return waves.walk(f"{host.name}/{metric}", time, longest=longest)

    demand = activity(time)
    cpu = _bounded(host.idle + (host.busy - host.idle) * demand + 14.0 * walk("cpu"), 1.0, 99.0)
    pressure = cpu / 100.0
    power = host.watts * (0.35 + 0.65 * pressure)
    energy = power * 24.0 / 1_000.0
    metrics = {
        "cpu_usage": cpu,
        "memory_usage": _bounded(host.memory + 10.0 * demand + 6.0 * walk("memory", 7 * DAY), 5.0, 97.0),
        "disk_usage": _bounded(host.memory - 12.0 + 3.0 * walk("disk", 7 * DAY), 5.0, 97.0),
        "system_load": _bounded(cpu * 1.1 + 8.0 * walk("load"), 0.5, 160.0),
        "network_latency": _bounded(9.0 + 7.0 * pressure + 3.0 * walk("latency"), 1.0, 80.0),
        "active_connections": float(round(20 + 420 * demand + 60 * walk("connections"))),
        "response_time": _bounded(38.0 + 160.0 * pressure**3 + 14.0 * walk("response"), 8.0, 900.0),
        "error_rate": _bounded(0.25 + 0.9 * pressure**4 + 0.3 * walk("errors"), 0.0, 8.0),
        "queue_length": float(max(0, round(18.0 * pressure**2 + 5.0 * walk("queue")))),
        "uptime": _bounded(99.93 + 0.06 * walk("uptime", 7 * DAY), 99.5, 100.0),
        "energy_consumption": energy,
        "carbon_footprint": energy * _CARBON,
    }
    if host.gpu:
        metrics["gpu_usage"] = _bounded(20.0 + 60.0 * demand + 18.0 * walk("gpu"), 0.0, 100.0)
    return {name: round(value, 3) for name, value in metrics.items()}


def _bounded(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))
