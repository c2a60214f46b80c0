"""The log of a service: the direct one, or Kafka's with its monitor and, where all is in one process, its worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from aggregators.definitions import ROLLUPS
from api.auth.authenticate import utc_now
from api.log_observation import LogObservation
from api.observation import Observation
from front import kafka
from front.settings import Settings
from ingest.direct import DirectLog
from ingest.kafka.offsets import LogOffsets
from ingest.log import Log, Unavailable
from jobs.log_monitor import LogMonitor
from storage.database import Database
from storage.dead_letters import DeadLetters
from storage.log_partitions import LogPartitions
from storage.sink import DatabaseSink

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class EventLog:
    """The log, what watches it, and the worker's task in this process; the last two are Kafka's only."""

    log: Log
    monitor: LogMonitor | None = None
    worker: asyncio.Task[None] | None = None


@asynccontextmanager
async def event_log(
    settings: Settings, url: str, database: Database, observation: Observation, *, with_worker: bool
) -> AsyncIterator[EventLog]:
    """The log that the settings ask for, open while the block runs."""
    if settings.kafka_bootstrap_servers is None:
        async with _direct(settings, url, observation) as opened:
            yield opened
    else:
        async with _over_kafka(settings, url, database, observation, with_worker=with_worker) as opened:
            yield opened


@asynccontextmanager
async def _direct(settings: Settings, url: str, observation: Observation) -> AsyncIterator[EventLog]:
    sink = DatabaseSink(url, ROLLUPS, limits=kafka.ledger_limits(settings))
    direct = DirectLog(sink, observation, queue_events=settings.queue_events, group_events=settings.group_events)
    try:
        yield EventLog(direct)
    finally:
        await direct.close()
        sink.close()


@asynccontextmanager
async def _over_kafka(
    settings: Settings, url: str, database: Database, observation: Observation, *, with_worker: bool
) -> AsyncIterator[EventLog]:
    partitions = LogPartitions(database)
    telemetry = LogObservation(observation)
    async with contextlib.AsyncExitStack() as stack:
        try:
            await kafka.prepare_topics(settings, partitions)
        except Unavailable as error:
            # What is stored can be read all the same; events are refused until Kafka is there.
            log.warning("kafka_unavailable", reason=error.reason)
            waiting = asyncio.create_task(kafka.topics_ready(settings, partitions), name="topics")
            stack.callback(waiting.cancel)
        monitor = LogMonitor(
            partitions,
            DeadLetters(database),
            LogOffsets(kafka.cluster(settings)),
            utc_now,
            telemetry.watched,
        )
        stack.push_async_callback(monitor.stop)
        await monitor.start()
        working: asyncio.Task[None] | None = None
        if with_worker:
            worker = await stack.enter_async_context(kafka.worker(settings, url, database, partitions, telemetry))
            working = asyncio.create_task(worker.run(), name="worker")

            async def end() -> None:
                worker.stop()
                await asyncio.gather(working, return_exceptions=True)

            stack.push_async_callback(end)
        opened = await stack.enter_async_context(kafka.kafka_log(settings, partitions, observation))
        yield EventLog(opened, monitor, working)
