"""The demo: simulated trades, views, enterprise figures and hosts, the same again for the same seed and time."""

from ingest.collectors.demo.simulation import Demo

__all__ = ["Demo"]
