"""Claims: a worker makes the partitions that it was assigned its own, and finds out from where each must be read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

import structlog

from ingest.kafka.consumer import LogConsumer
from ingest.kafka.slices import Place, Slice
from ingest.log import Position
from ingest.telemetry import LogTelemetry
from storage.log_partitions import Claim, LogPartitions

log = structlog.get_logger(__name__)


class Claims:
    """What a worker holds: the claim of each partition, the offset up to which its records are taken, and that up to which counted."""

    def __init__(self, partitions: LogPartitions, consumer: LogConsumer, telemetry: LogTelemetry, owner: str) -> None:
        self._partitions = partitions
        self._consumer = consumer
        self._telemetry = telemetry
        self._owner = owner
        self.held: dict[Place, Claim] = {}
        self.taken: dict[Place, int] = {}
        self.counted: dict[Place, int] = {}

    def counts(self) -> dict[str, int]:
        """How many partitions each kind has of which something is held."""
        return {claim.kind: claim.partitions for claim in self.held.values()}

    def drop(self, places: Collection[Place]) -> None:
        """These are not ours to write any more."""
        for place in places:
            self.held.pop(place, None)
            self.taken.pop(place, None)
            self.counted.pop(place, None)

    def positions(self) -> list[Position]:
        """Where everything that is held stands."""
        return [self._position(place, self.taken[place], self.taken[place]) for place in self.held]

    def take(self, slices: Sequence[Slice]) -> list[Position]:
        """From where to where these records move their partitions; they are taken then. A partition may come in several slices."""
        first: dict[Place, int] = {}
        last: dict[Place, Slice] = {}
        for part in slices:
            taken = self.taken[part.place]
            if part.records[0].offset < taken:
                raise AssertionError(f"{part.place}: offset {part.records[0].offset} comes after {taken} was taken")
            first.setdefault(part.place, taken)
            last[part.place] = part
            self.taken[part.place] = part.next
        return [self._position(place, first[place], part.next, part.appended) for place, part in sorted(last.items())]

    def were_counted(self, positions: Sequence[Position]) -> None:
        """These were moved in the database."""
        for position in positions:
            place = position.kind, position.partition
            if place in self.counted:
                self.counted[place] = position.next

    def _position(self, place: Place, expected: int, next_: int, appended: dt.datetime | None = None) -> Position:
        claim = self.held[place]
        return Position(claim.kind, claim.partition, claim.partitions, claim.epoch, expected, next_, appended)

    async def claim(self, places: Collection[Place]) -> None:
        """Claims partitions and has them read from the offset that the database says.

        Raises StorageUnavailable where the database is away and KafkaError where the broker is. Partitions that were revoked
        meanwhile are left to whoever has them now; those that the database does not know yet stay unclaimed.
        """
        generation = self._consumer.generation
        claims = {(c.kind, c.partition): c for c in await self._partitions.claim(places, self._owner)}
        starts: dict[Place, int] = {}
        if claims:
            bounds = await self._consumer.bounds(claims)
            dated = {place: c.appended_at for place, c in claims.items() if c.appended_at is not None}
            later = await self._consumer.appended_after(dated) if dated else {}
            for place, claim in claims.items():
                start = _start(claim, *bounds[place], later.get(place))
                if start == claim.next_offset or await self._move(claim, *bounds[place], start):
                    starts[place] = start
        if self._consumer.generation != generation:
            return
        self.held.update({place: claims[place] for place in starts})
        self.taken.update(starts)
        self.counted.update(starts)
        self._consumer.begin(starts)

    async def _move(self, claim: Claim, first: int, end: int, start: int) -> bool:
        """Goes on elsewhere than where the database says, and says so aloud. False where the partition is another's already."""
        if not await self._partitions.skip(claim, claim.next_offset, start):
            return False
        lost = start - claim.next_offset if start > claim.next_offset else max(1, claim.next_offset - end)
        self._telemetry.offsets_lost(claim.kind, lost)
        log.error(
            "log_offsets_lost",
            kind=claim.kind,
            partition=claim.partition,
            expected=claim.next_offset,
            first=first,
            end=end,
            goes_on_at=start,
            lost=lost,
            reason="Kafka's retention took records before they were counted"
            if claim.next_offset < first
            else "the topic is another one than was read before, or lost its end",
        )
        return True


def _start(claim: Claim, first: int, end: int, after: int | None) -> int:
    """From where a partition is read: where the database says, unless the log shows that this is not the place any more.

    The broker stamps records in the order of their offsets. One that was appended after the last that was counted, at an offset
    that was passed already, is of a topic that was made anew: everything from there on is not counted.
    """
    if claim.next_offset < first:
        return first
    if after is not None and after < claim.next_offset:
        return max(first, after)
    if claim.next_offset > end:
        return first if claim.appended_at is None else end
    return claim.next_offset


def owner_name(host: str, process: int, moment: dt.datetime) -> str:
    """A worker's name, another at every start."""
    return f"{host}/{process}/{moment:%Y%m%dT%H%M%S.%f}"
