"""The pipeline: groups of records on their way into the database, one behind the other."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

from jobs.storing import Group, Storing
from storage.group import PackedBatch
from storage.sink import DatabaseSink

_DEPTH = 2
"""One group that is written, one that is prepared meanwhile; more would only be memory."""


class Pipeline:
    """While one group is written, the next is prepared. Where one is lost, so are those behind it: they begin where it would have ended."""

    def __init__(self, sink: DatabaseSink, storing: Storing) -> None:
        self._sink = sink
        self._storing = storing
        self._groups: deque[tuple[Group, asyncio.Task[None]]] = deque()

    @property
    def groups(self) -> list[Group]:
        """Those that are under way, the oldest first."""
        return [group for group, _ in self._groups]

    @property
    def full(self) -> bool:
        """Whether another group would have to wait for more than its turn."""
        return len(self._groups) >= _DEPTH

    @property
    def oldest(self) -> asyncio.Task[None] | None:
        """Done when the oldest group is through: it raises Fenced where the group is lost, and what `Storing.store` raises else."""
        return self._groups[0][1] if self._groups else None

    def put(self, group: Group) -> None:
        """Sends a group on its way."""
        before = self._groups[-1][1] if self._groups else None
        self._groups.append((group, asyncio.create_task(self._pass(group, before), name="store")))

    def pop(self) -> Group:
        """Takes the oldest group out, whose task somebody has waited for."""
        return self._groups.popleft()[0]

    async def drop(self, *, keep: int = 0) -> None:
        """Drops groups of which nothing was written yet: all but so many of the oldest."""
        tasks = [self._groups.pop()[1] for _ in range(len(self._groups) - keep)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass(self, group: Group, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            batches = cast("list[PackedBatch]", group.taken.batches)
            group.prepared = await asyncio.to_thread(self._sink.prepare, batches)
            # Shielded: who drops this group does not mean the one before it.
            await asyncio.shield(before)
        await self._storing.store(group)
