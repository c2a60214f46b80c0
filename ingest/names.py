"""The metric names that an organization uses: bounded in number, so that no sender can fill the rollups with noise."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from ingest.events import Event
from ingest.events.enterprise import Enterprise
from ingest.events.system import System

_MEASURED = ("system", "enterprise")
"""The kinds of events that have metrics."""

_NAME = re.compile(r"[a-z][a-z0-9_.]{0,63}").fullmatch


class MetricNames:
    """Knows which names each organization has used, and admits new ones up to `limit` a kind."""

    def __init__(self, known: Iterable[tuple[UUID, str, str]] = (), *, limit: int = 1_000) -> None:
        self._limit = limit
        self._names: dict[tuple[UUID, str], set[str]] = {}
        # Requests are decoded in threads: two that bring the last free name must not both have it.
        self._admitting = threading.Lock()
        for organization, kind, name in known:
            self._names.setdefault((organization, kind), set()).add(name)

    def refusals(self, organization: UUID, events: Sequence[Event]) -> list[str | None]:
        """For each event why its metric names cannot be admitted, or None; an empty list where all are admitted."""
        known = {kind: self._names.get((organization, kind), set()) for kind in _MEASURED}
        if all(event.data.metrics.keys() <= known[event.kind] for event in events if type(event).kind in known):
            return []
        return [self.refusal(organization, event) for event in events]

    def refusal(self, organization: UUID, event: Event) -> str | None:
        """Returns why the event's metric names cannot be admitted, or None and remembers them."""
        data = event.data
        if not isinstance(data, System | Enterprise):
            return None
        with self._admitting:
            return self._admit(self._names.setdefault((organization, event.kind), set()), data.metrics)

    def _admit(self, known: set[str], metrics: Mapping[str, Any]) -> str | None:
        if metrics.keys() <= known:
            return None
        fresh = metrics.keys() - known
        for name in sorted(fresh):
            if not _NAME(name):
                return (
                    f"data.metrics.{name[:64]}: expected a snake_case name of a to z, 0 to 9, _ and ., at most 64 long"
                )
        if len(known) + len(fresh) > self._limit:
            return f"data.metrics.{min(fresh)}: the organization uses {self._limit} different metric names already"
        known |= fresh
        return None
