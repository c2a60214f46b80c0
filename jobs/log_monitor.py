"""The monitor of Kafka's log: looks from outside whether it is counted, so that workers that died or hang are noticed."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Sequence

import structlog

from ingest.kafka.offsets import LogOffsets
from ingest.log import Unavailable
from ingest.log_status import LogStatus, PartitionStatus, WorkerStatus
from storage.database import QueryTooSlow, StorageUnavailable
from storage.dead_letters import DeadLetters
from storage.log_partitions import LogPartitions, Place, Progress

log = structlog.get_logger(__name__)

_ASK_KAFKA_S = 2.0


class LogMonitor:
    """Keeps `status` up to date while it runs: the database is asked twice a second, Kafka every two seconds."""

    def __init__(
        self,
        partitions: LogPartitions,
        dead_letters: DeadLetters,
        offsets: LogOffsets,
        now: Callable[[], dt.datetime],
        on_status: Callable[[LogStatus], None],
        *,
        interval_s: float = 0.5,
    ) -> None:
        self._partitions = partitions
        self._dead_letters = dead_letters
        self._offsets = offsets
        self._now = now
        self._on_status = on_status
        self._interval_s = interval_s
        self._ends: dict[Place, int] = {}
        self._stuck: dict[Place, tuple[int, float]] = {}
        self._task: asyncio.Task[None] | None = None
        self.status = LogStatus(now(), problem="nothing is known yet")

    async def start(self) -> None:
        """Looks once, then again and again."""
        await self.look(ask_kafka=True)
        self._task = asyncio.create_task(self._run(), name="log-monitor")

    async def stop(self) -> None:
        """Ends it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._offsets.close()

    async def _run(self) -> None:
        asked = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(self._interval_s)
            now = asyncio.get_running_loop().time()
            ask = now - asked >= _ASK_KAFKA_S
            if ask:
                asked = now
            await self.look(ask_kafka=ask)

    async def look(self, *, ask_kafka: bool) -> None:
        """Brings `status` up to date."""
        # Before the questions, so that nothing is called fresher than it was when it was read.
        at = self._now()
        problem = self.status.problem if not ask_kafka else None
        try:
            progress = await self._partitions.progress()
            waiting = (await self._dead_letters.numbers()).waiting if ask_kafka else self.status.dead_letters
            if ask_kafka:
                self._ends = dict(await self._offsets.ends([(p.kind, p.partition) for p in progress]))
        except (StorageUnavailable, QueryTooSlow, Unavailable) as error:
            if self.status.problem != str(error):
                log.warning("log_not_watched", reason=str(error))
            self._tell(LogStatus(at, self.status.partitions, self.status.workers, self.status.dead_letters, str(error)))
            return
        partitions = [self._partition(one) for one in progress]
        self._tell(LogStatus(at, partitions, _workers(progress), waiting, problem))

    def _tell(self, status: LogStatus) -> None:
        self.status = status
        self._on_status(status)

    def _partition(self, one: Progress) -> PartitionStatus:
        place = one.kind, one.partition
        end = self._ends.get(place)
        lag = None if end is None else max(0, end - one.next_offset)
        now = asyncio.get_running_loop().time()
        before, since = self._stuck.get(place, (-1, now))
        # A partition that was empty for an hour is not stuck because a record has just come.
        if not lag or before != one.next_offset:
            since = now
        self._stuck[place] = (one.next_offset, since)
        return PartitionStatus(
            one.kind, one.partition, end, one.next_offset, lag, one.owner, round(now - since, 1), one.fresh_until
        )


def _workers(progress: Sequence[Progress]) -> list[WorkerStatus]:
    seen: dict[str, list[float]] = defaultdict(list)
    for one in progress:
        if one.owner is not None and one.seen_ago is not None:
            seen[one.owner].append(one.seen_ago)
    return [WorkerStatus(name, len(ages), round(min(ages), 1)) for name, ages in sorted(seen.items())]
