"""What a worker says of its partitions once a second: that they are held, how fresh they are, how far behind."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Collection

import structlog

from ingest.kafka.consumer import LogConsumer
from ingest.kafka.slices import Place
from ingest.telemetry import LogTelemetry
from jobs.claims import Claims
from storage.database import QueryTooSlow, StorageUnavailable
from storage.log_partitions import Claim, LogPartitions

log = structlog.get_logger(__name__)

_TELL_S = 1.0


class Watch:
    """Tells the database and the telemetry. `void` are partitions of which the database says that they are not held any more."""

    def __init__(self, partitions: LogPartitions, telemetry: LogTelemetry) -> None:
        self._partitions = partitions
        self._telemetry = telemetry
        self._told_at = 0.0
        self._read_twice: dict[Place, tuple[int, int]] = {}
        self._telling: asyncio.Task[None] | None = None
        self.void: list[Place] = []

    async def tell(self, consumer: LogConsumer, claims: Claims, busy: Collection[Place]) -> None:
        """Tells it, if a second has gone by. `busy` are the partitions of which records are in hand."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._told_at < _TELL_S or (self._telling is not None and not self._telling.done()):
            return
        self._told_at = loop.time()
        ends = consumer.ends(claims.held)
        self._telemetry.owned({place: max(0, end - claims.counted[place]) for place, end in ends.items()})
        idle = claims.held.keys() - busy
        drained = consumer.drained(idle)
        try:
            for place, (_, end) in drained.items():
                await self._pass_over(consumer, claims, place, end)
        except (StorageUnavailable, QueryTooSlow) as error:
            log.info("freshness_untold", reason=str(error))
            return
        fresh = [
            (
                claims.held[place],
                drained[place][0] if place in drained and drained[place][1] <= claims.taken[place] else None,
            )
            for place in sorted(idle)
        ]
        self._telling = asyncio.create_task(self._tell_fresh(fresh), name="tell-fresh")

    async def end(self) -> None:
        """Waits a little for what is being told."""
        if self._telling is not None:
            await asyncio.wait([self._telling], timeout=1.0)
            self._telling.cancel()

    async def _pass_over(self, consumer: LogConsumer, claims: Claims, place: Place, end: int) -> None:
        """Behind the last record stands something that is none, such as the mark of a transaction: it is passed, too.

        Nothing is passed unseen: the place is read a second time first, and only where that brings no record it is believed.
        """
        claim, taken = claims.held[place], claims.taken[place]
        if end <= taken:
            return
        if self._read_twice.get(place) != (claim.epoch, taken):
            self._read_twice[place] = claim.epoch, taken
            consumer.read_from(place, taken)
        elif await self._partitions.skip(claim, taken, end):
            claims.taken[place] = claims.counted[place] = end

    async def _tell_fresh(self, fresh: list[tuple[Claim, dt.datetime | None]]) -> None:
        try:
            self.void = await self._partitions.tell_fresh(fresh)
        except (StorageUnavailable, QueryTooSlow) as error:
            log.info("freshness_untold", reason=str(error))
