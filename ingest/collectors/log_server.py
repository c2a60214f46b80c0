"""The log in the place of the HTTP service, for importers and collectors that stand beside Kafka."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from uuid import UUID

import msgspec

from ingest.collectors.backoff import Backoff
from ingest.collectors.client import Receipt, Sendable, Unreachable
from ingest.events import Event
from ingest.events.decode import Limits, Rejection, decode, refuse
from ingest.log import Batch, Log, Unavailable
from ingest.names import MetricNames
from ingest.reserved import reserved

AskSequence = Callable[[str, str], Awaitable[int | None]]
"""The highest sequence that was counted of a kind and source."""


class LogServer:
    """Judges events as the service does and publishes them; see ingest.collectors.importers.run.Server.

    What the log cannot take is tried again for `patience` seconds.
    """

    def __init__(
        self,
        log: Log,
        organization: UUID,
        ask_sequence: AskSequence,
        *,
        names: MetricNames,
        limits: Limits,
        now: Callable[[], dt.datetime],
        random: Random,
        patience: float = 300.0,
    ) -> None:
        self._log = log
        self._organization = organization
        self._ask_sequence = ask_sequence
        self._names = names
        self._limits = limits
        self._now = now
        self._random = random
        self._backoff = Backoff()
        self._patience = patience

    async def send(self, events: Sequence[Sendable]) -> Receipt:
        """Returns what was accepted and what was rejected. Raises Unreachable."""
        body = b"[" + b",".join(msgspec.json.encode(event) for event in events) + b"]"
        decoded = decode(body, "application/json", now=self._now(), limits=self._limits)
        decoded = refuse(decoded, reserved(decoded.events))
        decoded = refuse(decoded, [self._names.refusal(self._organization, event) for event in decoded.events])
        rejected = list(decoded.rejected)
        if decoded.events:
            for refusal in await self._publish(decoded.events):
                event = decoded.events[refusal]
                rejected.append(Rejection(decoded.indexes[refusal], event.id, "event: refused when it was stored"))
        return Receipt(len(events) - len(rejected), sorted(rejected, key=lambda one: one.index))

    async def publish(self, events: Sequence[Event]) -> None:
        """Publishes the events of a running collector."""
        await self.send(list(events))

    async def sequence(self, kind: str, source: str) -> int | None:
        """Returns the highest sequence that was counted of a source. What is still in the log is not in it, and known when sent again."""
        return await self._ask_sequence(kind, source)

    async def _publish(self, events: Sequence[Event]) -> list[int]:
        loop = asyncio.get_running_loop()
        started, attempt = loop.time(), 0
        while True:
            try:
                return [refusal.position for refusal in await self._log.publish(Batch(self._organization, events))]
            except Unavailable as error:
                delay = max(error.retry_after, self._backoff.delay(attempt, self._random))
                if loop.time() - started + delay > self._patience:
                    raise Unreachable(f"the log takes no events: {error.reason}") from error
                attempt += 1
                await asyncio.sleep(delay)
