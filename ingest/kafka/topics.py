"""The topics: made by whoever starts first, with as many partitions as the database says, and raised by command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from ingest.kafka.cluster import Cluster
from ingest.log import Unavailable

log = structlog.get_logger(__name__)

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Of one record, and of one compressed batch of records. A dead letter holds a whole record and its reason."""


class WrongPartitions(Exception):
    """A topic has another number of partitions than the database says; the message tells what to do."""


@dataclass(frozen=True)
class TopicShape:
    """How topics are made. `retention_hours`: how long Kafka keeps events; `replication`: copies of each partition."""

    retention_hours: int = 168
    replication: int = 1

    def settings(self) -> dict[str, str]:
        """The topic's configuration.

        The broker stamps each record when it is appended: how fresh the figures are is judged by these times, and so is
        whether a topic is still the one that was read before.
        """
        return {
            "retention.ms": str(self.retention_hours * 3_600_000),
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
        }


@asynccontextmanager
async def admin(cluster: Cluster) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for topics, open while the block runs. What goes wrong in it with Kafka becomes Unavailable."""
    client = AIOKafkaAdminClient(**cluster.client(), request_timeout_ms=15_000)
    try:
        await client.start()
        yield client
    except (KafkaError, OSError) as error:
        raise Unavailable(f"Kafka does not answer: {type(error).__name__}: {error}", retry_after=2.0) from error
    finally:
        await client.close()


async def partition_counts(client: AIOKafkaAdminClient, topics: list[str]) -> dict[str, int]:
    """How many partitions each of these topics has; those that do not exist are not in it."""
    found: dict[str, int] = {}
    for topic in await client.describe_topics(topics):
        error = for_code(topic["error_code"])
        if error is UnknownTopicOrPartitionError:
            continue
        if topic["error_code"]:
            raise error(topic["topic"])
        found[topic["topic"]] = len(topic["partitions"])
    return found


async def ensure_topics(cluster: Cluster, partitions: Mapping[str, int], shape: TopicShape) -> None:
    """Makes the topics that are missing: one a kind with that many partitions, and the one for dead letters.

    Raises WrongPartitions where a topic has another number of them. Of many that start at once, one makes them.
    """
    wanted = {cluster.topic(kind): count for kind, count in partitions.items()} | {cluster.dead_letter_topic: 1}
    async with admin(cluster) as client:
        there = await partition_counts(client, list(wanted))
        missing = [name for name in wanted if name not in there]
        if missing:
            made = [NewTopic(name, wanted[name], shape.replication, topic_configs=shape.settings()) for name in missing]
            answer = await client.create_topics(made)
            for name, code, *detail in answer.topic_errors:
                error = for_code(code)
                if code and error is not TopicAlreadyExistsError:
                    raise error(f"topic {name} cannot be made: {detail[0] if detail else error.__name__}")
            log.info("topics_created", topics=missing)
            there = await _appeared(client, list(wanted))
    for name, count in wanted.items():
        if there[name] != count and name != cluster.dead_letter_topic:
            kind = cluster.kind(name)
            raise WrongPartitions(
                f"topic {name} has {there[name]} partitions, the database says {count}: "
                + (
                    f"run `streamgauge partitions {kind} {there[name]}`, which drains the log first"
                    if there[name] > count
                    else f"the topic was made anew with fewer; give it {count} with Kafka's own tools"
                )
            )


async def _appeared(client: AIOKafkaAdminClient, names: list[str], seconds: float = 15.0) -> dict[str, int]:
    """A topic that was just made is not known to every broker at once."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        there = await partition_counts(client, names)
        if len(there) == len(names):
            return there
        if asyncio.get_running_loop().time() > deadline:
            raise KafkaError(f"topics {sorted(set(names) - set(there))} were made and do not appear")
        await asyncio.sleep(0.1)


async def raise_partitions(cluster: Cluster, kind: str, count: int) -> None:
    """Gives a kind's topic so many partitions, if it has fewer."""
    topic = cluster.topic(kind)
    async with admin(cluster) as client:
        there = await partition_counts(client, [topic])
        if there[topic] < count:
            await client.create_partitions({topic: NewPartitions(count)})
