"""Where importers and collectors send to: the service over HTTP, or straight to Kafka."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from uuid import UUID

from api.auth.authenticate import utc_now
from api.observation import Observation
from front import kafka
from front.credentials import CREDENTIALS
from front.settings import InvalidSetting, Settings
from ingest.collectors.client import Client
from ingest.collectors.log_server import LogServer
from ingest.names import MetricNames
from storage.database import Database
from storage.log_partitions import LogPartitions
from storage.metric_names import known_names
from storage.organizations import existing


@dataclass(frozen=True)
class Target:
    """Where to, as it was asked for: `to` is http or kafka; what is None is taken from credentials.json."""

    to: str
    url: str | None
    api_key: str | None
    organization: str | None


@asynccontextmanager
async def opened(
    settings: Settings, target: Target, random: Random, *, patience: float | None = 300.0
) -> AsyncIterator[Client | LogServer]:
    """The target, ready to be sent to. Raises InvalidSetting."""
    if target.to == "http":
        url, key = address(settings, target)
        async with Client(url, key, random=random, patience=patience) as client:
            yield client
    elif target.to == "kafka":
        async with _log_server(settings, target, random, patience) as server:
            yield server
    else:
        raise InvalidSetting(f"--to: {target.to!r} is no place to send to; http and kafka are")


@asynccontextmanager
async def _log_server(
    settings: Settings, target: Target, random: Random, patience: float | None
) -> AsyncIterator[LogServer]:
    kafka.cluster(settings)
    if settings.database_url is None:
        raise InvalidSetting("DATABASE_URL: is needed for --to kafka; it says how many partitions there are")
    organization = _organization(settings, target)
    async with contextlib.AsyncExitStack() as stack:
        database = Database(settings.database_url, size=2)
        await database.open()
        stack.push_async_callback(database.close)
        if not await existing(database, [organization]):
            raise InvalidSetting(f"--organization: there is none with the id {organization}")
        partitions = LogPartitions(database)
        await kafka.prepare_topics(settings, partitions)
        log = await stack.enter_async_context(kafka.kafka_log(settings, partitions, Observation()))

        async def sequence(kind: str, source: str) -> int | None:
            rows = await database.rows(
                organization,
                "select sequence from app.source_sequence where kind = %s and source = %s",
                (kind, source),
            )
            return int(rows[0]["sequence"]) if rows else None

        names = MetricNames(await known_names(database), limit=settings.metric_names)
        yield LogServer(
            log,
            organization,
            sequence,
            names=names,
            limits=kafka.limits(settings),
            now=utc_now,
            random=random,
            patience=float("inf") if patience is None else patience,
        )


def _known(settings: Settings, need: str) -> dict[str, str]:
    path = settings.data / CREDENTIALS
    try:
        known: dict[str, str] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InvalidSetting(
            f"{path}: is not there; start the service first (streamgauge run), or give {need}"
        ) from None
    return known


def address(settings: Settings, target: Target) -> tuple[str, str]:
    """Where to send to, and the key: as given, else from credentials.json. Raises InvalidSetting."""
    if target.url and target.api_key:
        return target.url, target.api_key
    known = _known(settings, "--url and --api-key")
    return target.url or known["url"], target.api_key or known["api_key"]


def _organization(settings: Settings, target: Target) -> UUID:
    text = target.organization or _known(settings, "--organization")["organization_id"]
    try:
        return UUID(text)
    except ValueError:
        raise InvalidSetting(f"--organization: {text!r} is no id") from None
