"""What a service sends to its own log: this host's metrics, and what its API processes measure of themselves."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from random import Random
from uuid import UUID

import structlog

from api.auth.authenticate import utc_now
from api.request_counts import RequestCounts
from api.request_telemetry import RequestTelemetry
from ingest.collectors.host import HostCollector
from ingest.collectors.incarnation import incarnation
from ingest.events import Event
from ingest.log import Batch, Log

log = structlog.get_logger(__name__)


def publisher(log_: Log, organization: UUID) -> Callable[[list[Event]], Awaitable[None]]:
    async def publish(events: list[Event]) -> None:
        for refusal in await log_.publish(Batch(organization, events)):
            log.warning("own_event_refused", id=events[refusal.position].id, error=refusal.error)

    return publish


def host_collector(log_: Log, organization: UUID) -> HostCollector:
    random = Random()  # noqa: S311  (spreads retries and names this start; nothing secret)
    return HostCollector(
        publisher(log_, organization),
        hostname=hostname(),
        incarnation=incarnation(utc_now(), random),
        clock=utc_now,
        random=random,
    )


def hostname() -> str:
    return socket.gethostname() or "localhost"


def request_telemetry(log_: Log, organization: UUID, counts: RequestCounts, name: str) -> RequestTelemetry:
    random = Random()  # noqa: S311  (spreads retries and names this start; nothing secret)
    return RequestTelemetry(
        publisher(log_, organization),
        counts,
        host=name,
        incarnation=incarnation(utc_now(), random),
        clock=utc_now,
        random=random,
    )
