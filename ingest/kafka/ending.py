"""Ends clients of Kafka that do not end by themselves: aiokafka waits for a broker that is away, without bound."""

from __future__ import annotations

import asyncio
import contextlib

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

STOP_S = 2.0
"""How long a client may take to end by itself."""


async def end_producer(producer: AIOKafkaProducer) -> None:
    """Ends a producer, whatever state it is in: one that waits for a broker that is away would never stop by itself."""
    with contextlib.suppress(KafkaError, TimeoutError):
        async with asyncio.timeout(STOP_S):
            await producer.stop()
            return
    producer._message_accumulator.fail_all(KafkaError("the producer was replaced"))
    await producer.client.close()
    task = producer._sender.sender_task
    if task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=STOP_S)


async def abandon_consumer(consumer: AIOKafkaConsumer) -> None:
    """Ends the tasks of a consumer that does not stop. One that went on would stay a member, with partitions that nobody reads."""
    coordinator, fetcher = consumer._coordinator, consumer._fetcher
    tasks = [coordinator._coordination_task, coordinator._heartbeat_task, coordinator._commit_refresh_task]
    tasks += [fetcher._fetch_task, *fetcher._pending_tasks]
    left = [task for task in tasks if task is not None and not task.done()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=1.0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await consumer._client.close()
