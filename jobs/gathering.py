"""Gathering: what was read of the log and is in no group yet, decoded while more is read."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Collection, Sequence

from ingest.kafka.intake import Intake, Taken
from ingest.kafka.slices import Place, Slice
from jobs.known import KnownOrganizations

TOGETHER = 5_000
"""Records that are read at once and decoded in a thread before more are; fewer are decoded with the rest of their group."""


class Gathering:
    """Slices of the log in the order in which they were read, and what is in them, as far as it is decoded."""

    def __init__(self, intake: Intake, organizations: KnownOrganizations, now: Callable[[], dt.datetime]) -> None:
        self._intake = intake
        self._organizations = organizations
        self._now = now
        self._slices: list[Slice] = []
        self._undecoded: list[Slice] = []
        self._taken = Taken()

    def __len__(self) -> int:
        """Records, whether they can be counted or not."""
        return _records(self._slices)

    @property
    def places(self) -> set[Place]:
        """The partitions that they are of."""
        return {part.place for part in self._slices}

    async def add(self, slices: Sequence[Slice], counts: dict[str, int]) -> None:
        """Takes slices over; decodes them once there are enough. `counts` are the kinds' numbers of partitions.

        Raises StorageUnavailable and QueryTooSlow where it cannot be found out whose records they are.
        """
        self._slices += slices
        self._undecoded += slices
        if _records(self._undecoded) >= TOGETHER:
            await self._decode(counts)

    async def finish(self, counts: dict[str, int]) -> tuple[list[Slice], Taken]:
        """All that was gathered, decoded; from here on it is empty. Raises as `add` does, and keeps everything then."""
        if self._undecoded:
            await self._decode(counts)
        found = self._slices, self._taken
        self.clear()
        return found

    def clear(self) -> None:
        """Forgets everything."""
        self._slices, self._undecoded, self._taken = [], [], Taken()

    async def _decode(self, counts: dict[str, int]) -> None:
        await self._organizations.look_up(self._undecoded)
        by_header = self._organizations.by_header
        self._taken.add(await asyncio.to_thread(self._intake.take, self._undecoded, counts, by_header, self._now()))
        self._undecoded = []


def _records(slices: Collection[Slice]) -> int:
    return sum(len(part.records) for part in slices)
