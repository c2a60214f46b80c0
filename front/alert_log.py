"""The log of a scheduler process, which has an event to tell now and then: it is opened for the first one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

from api.observation import Observation
from front import kafka
from front.event_log import event_log
from front.own_events import publisher
from front.settings import Settings
from ingest.events import Event
from ingest.log import Log
from jobs.delivery.alerts import PublishAlerts
from storage.database import Database
from storage.log_partitions import LogPartitions


def publish_to(log: Log) -> PublishAlerts:
    """Publishes to a log that is open already."""

    async def publish(organization: UUID, events: list[Event]) -> None:
        await publisher(log, organization)(events)

    return publish


@asynccontextmanager
async def alert_log(settings: Settings, observation: Observation) -> AsyncIterator[PublishAlerts]:
    """Publishes to the log that the settings name. A scheduler that has nothing to tell holds neither its connections nor its memory."""
    opening, opened = asyncio.Lock(), list[Log]()
    async with AsyncExitStack() as stack:

        async def publish(organization: UUID, events: list[Event]) -> None:
            async with opening:
                if not opened:
                    async with AsyncExitStack() as trying:
                        opened.append(await _open(settings, observation, trying))
                        stack.push_async_exit(trying.pop_all())
            await publisher(opened[0], organization)(events)

        yield publish


async def _open(settings: Settings, observation: Observation, stack: AsyncExitStack) -> Log:
    assert settings.database_url is not None
    url = settings.database_url
    database = Database(settings.api_database_url or url, size=2)
    await database.open()
    stack.push_async_callback(database.close)
    if settings.kafka_bootstrap_servers is not None:
        # Only who counts needs to know how far the log is: no monitor.
        partitions = LogPartitions(database)
        await kafka.prepare_topics(settings, partitions)
        return await stack.enter_async_context(kafka.kafka_log(settings, partitions, observation))
    computing = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="computing"))
    direct = event_log(settings, settings.sink_database_url or url, database, observation, computing, with_worker=False)
    return (await stack.enter_async_context(direct)).log
