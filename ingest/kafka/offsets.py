"""The ends of the topics' partitions, for those who watch the log and do not read it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ingest.kafka.cluster import Cluster
from ingest.log import Unavailable


class LogOffsets:
    """Asks Kafka where the partitions end. A connection that fails is made anew at the next question."""

    def __init__(self, cluster: Cluster, *, seconds: float = 5.0) -> None:
        self._cluster = cluster
        self._seconds = seconds
        self._consumer: AIOKafkaConsumer | None = None

    async def ends(self, places: Iterable[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """The offset behind the last record of each partition. Raises Unavailable."""
        partitions = {TopicPartition(self._cluster.topic(kind), number): (kind, number) for kind, number in places}
        if not partitions:
            return {}
        try:
            async with asyncio.timeout(self._seconds):
                if self._consumer is None:
                    self._consumer = AIOKafkaConsumer(**self._cluster.client(), enable_auto_commit=False)
                    await self._consumer.start()
                found = await self._consumer.end_offsets(list(partitions))
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise Unavailable(f"Kafka does not answer: {type(error).__name__}: {error}".rstrip(": ")) from error
        return {partitions[partition]: offset for partition, offset in found.items()}

    async def close(self) -> None:
        """Ends the connection."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await consumer.stop()
