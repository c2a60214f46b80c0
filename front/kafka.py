"""Kafka from the settings: the cluster, the topics, the log, the worker."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from aggregators.definitions import ROLLUPS
from api.auth.authenticate import utc_now
from front.settings import InvalidSetting, Settings
from ingest.events import KINDS
from ingest.events.decode import Limits
from ingest.kafka.cluster import Cluster
from ingest.kafka.consumer import LogConsumer
from ingest.kafka.intake import Intake
from ingest.kafka.log import KafkaLog
from ingest.kafka.producer import Producer
from ingest.kafka.topics import TopicShape, WrongPartitions, ensure_topics
from ingest.log import Unavailable
from ingest.names import MetricNames
from ingest.telemetry import LogTelemetry, Telemetry
from jobs.claims import owner_name
from jobs.storing import DeadLetterLimit, Storing
from jobs.worker import Worker
from storage.database import Database
from storage.ledger import LedgerLimits
from storage.log_partitions import LogPartitions
from storage.metric_names import known_names
from storage.sink import DatabaseSink

log = structlog.get_logger(__name__)

SKEW = dt.timedelta(minutes=10)
"""How much later than an API process a worker may take it to be: what was accepted is not refused because a clock is slow."""

_AGAIN_S = 2.0


def cluster(settings: Settings) -> Cluster:
    """The cluster that is set; raises InvalidSetting where none is."""
    if settings.kafka_bootstrap_servers is None:
        raise InvalidSetting("KAFKA_BOOTSTRAP_SERVERS: is needed for this; without it there is the direct log only")
    return Cluster(
        settings.kafka_bootstrap_servers,
        prefix=settings.topic_prefix,
        security=settings.kafka_security,
        mechanism=settings.kafka_mechanism,
        username=settings.kafka_username,
        password=settings.kafka_password,
        ca_file=settings.kafka_ca_file,
    )


def limits(settings: Settings, *, skew: dt.timedelta = dt.timedelta()) -> Limits:
    """Which times of events are believed."""
    return Limits(
        earliest=dt.datetime.combine(settings.earliest, dt.time(), dt.UTC),
        ahead=dt.timedelta(minutes=settings.ahead_minutes) + skew,
    )


def ledger_limits(settings: Settings) -> LedgerLimits:
    """How long an event's id is known."""
    return LedgerLimits(window_hours=settings.ledger_hours, slices=settings.ledger_slices)


async def prepare_topics(settings: Settings, partitions: LogPartitions) -> None:
    """Enters the kinds in the database and makes their topics; raises Unavailable or InvalidSetting."""
    topics = await partitions.register(dict.fromkeys(KINDS, settings.partitions))
    shape = TopicShape(settings.log_retention_hours, settings.replication)
    try:
        await ensure_topics(cluster(settings), {topic.kind: topic.partitions for topic in topics}, shape)
    except WrongPartitions as error:
        # While a number is being raised the two differ, until the command has ended.
        if any(topic.draining for topic in topics):
            raise Unavailable(str(error)) from error
        raise InvalidSetting(str(error)) from error


async def topics_ready(settings: Settings, partitions: LogPartitions) -> None:
    """Returns once the topics are there, however long Kafka is away."""
    while True:
        try:
            await prepare_topics(settings, partitions)
            return
        except Unavailable as error:
            log.warning("kafka_awaited", reason=error.reason)
        await asyncio.sleep(_AGAIN_S)


@asynccontextmanager
async def kafka_log(settings: Settings, partitions: LogPartitions, telemetry: Telemetry) -> AsyncIterator[KafkaLog]:
    """The log for those who publish."""
    opened = KafkaLog(
        cluster(settings),
        partitions.topics,
        telemetry,
        queue_events=settings.queue_events,
        compression=record_compression(settings),
    )
    await opened.start()
    try:
        yield opened
    finally:
        await opened.close()


def record_compression(settings: Settings) -> str | None:
    """The compression as Kafka's client takes it."""
    return None if settings.compression == "none" else settings.compression


@asynccontextmanager
async def worker(
    settings: Settings, url: str, database: Database, partitions: LogPartitions, telemetry: LogTelemetry
) -> AsyncIterator[Worker]:
    """A worker and what it works with."""
    owner = owner_name(socket.gethostname(), os.getpid(), utc_now())
    where = cluster(settings)
    producer = Producer(where, compression=record_compression(settings))
    sink = DatabaseSink(url, ROLLUPS, limits=ledger_limits(settings))
    names = MetricNames(await known_names(database), limit=settings.metric_names)
    try:
        yield Worker(
            owner=owner,
            database=database,
            partitions=partitions,
            consumer=lambda: LogConsumer(where, list(KINDS), client_id=owner, session_s=settings.session_seconds),
            intake=Intake(limits(settings, skew=SKEW), names.refusal, sink.pack),
            sink=sink,
            storing=Storing(sink, producer, where, telemetry, DeadLetterLimit(settings.dead_letter_limit), now=utc_now),
            telemetry=telemetry,
            now=utc_now,
            group_events=settings.group_events,
            session_s=settings.session_seconds,
        )
    finally:
        await producer.close()
        sink.close()
