"""The source of the service's own events, under whose name nobody else sends any."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from ingest.events import Event

ALERT_SOURCE = "streamgauge/reports"
"""The source of alerts about reports, each organization's own. They are numbered: a higher number from elsewhere would hide them."""


def reserved(events: Sequence[Event]) -> list[str | None]:
    """For each event why its source is not for senders, or None; an empty list where all are well."""
    if ALERT_SOURCE not in set(map(attrgetter("source"), events)):
        return []
    return [
        f"source: {ALERT_SOURCE} is the service's own" if event.source == ALERT_SOURCE else None for event in events
    ]
