"""Raising the number of a kind's partitions: nothing is taken, all is counted, the number is raised, events are taken again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from ingest.kafka.cluster import Cluster
from ingest.kafka.log import LEASE_S, PUBLISH_S
from ingest.kafka.offsets import LogOffsets
from ingest.kafka.topics import raise_partitions
from ingest.log import Unavailable
from storage.log_partitions import LogPartitions, LogTopic

log = structlog.get_logger(__name__)

OnStep = Callable[[str, int | None], None]
"""Called with what goes on, and how many events are still to be counted where that is what is waited for."""

QUIET_S = LEASE_S + PUBLISH_S
"""After which every process has read that nothing is taken, and every batch that it had taken before is in the log or refused."""


class CannotRaise(ValueError):
    """The number cannot be had; the message says why."""


async def raise_number(
    kind: str,
    count: int,
    *,
    partitions: LogPartitions,
    cluster: Cluster,
    on_step: OnStep,
    quiet_s: float = QUIET_S,
    poll_s: float = 0.25,
) -> None:
    """Gives a kind `count` partitions, a multiple of what it has.

    A multiple, so that what lay in one partition lies in few afterwards, and the ledgers that knew it are found. Ended anywhere, it
    goes on when it is called again with the same number; until then nothing of the kind is taken. Raises CannotRaise.
    """
    topic = await _topic(partitions, kind)
    if count < topic.partitions or count % topic.partitions:
        raise CannotRaise(
            f"{kind} has {topic.partitions} partitions: the number can be raised to a multiple of that only, not to {count}"
        )
    if count == topic.partitions and not topic.draining:
        raise CannotRaise(f"{kind} has {count} partitions already")
    if count > topic.partitions:
        _, since = await partitions.begin_draining(kind)
        on_step("waiting for what is being published", None)
        await asyncio.sleep(max(0.0, quiet_s - since))
        await _drained(kind, partitions, LogOffsets(cluster), on_step, poll_s)
        on_step("raising the number", None)
        await raise_partitions(cluster, kind, count)
        await partitions.raise_count(kind, count)
    await partitions.end_draining(kind)
    on_step("done", None)


async def _topic(partitions: LogPartitions, kind: str) -> LogTopic:
    topics = {topic.kind: topic for topic in await partitions.topics()}
    if kind not in topics:
        raise CannotRaise(f"{kind}: is no kind of event with a topic; known are {', '.join(topics) or 'none yet'}")
    return topics[kind]


async def _drained(kind: str, partitions: LogPartitions, offsets: LogOffsets, on_step: OnStep, poll_s: float) -> None:
    """Returns once every record of the kind is counted."""
    try:
        while True:
            progress = {p.partition: p.next_offset for p in await partitions.progress() if p.kind == kind}
            try:
                ends = await offsets.ends([(kind, number) for number in progress])
            except Unavailable as error:
                log.warning("kafka_awaited", reason=error.reason)
            else:
                left = sum(max(0, ends[kind, number] - offset) for number, offset in progress.items())
                on_step("waiting for the workers", left)
                if not left:
                    return
            await asyncio.sleep(poll_s)
    finally:
        await offsets.close()
