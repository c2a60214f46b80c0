"""`/health/detailed`: every part by itself, the log by partition. It holds no organization's data."""

from __future__ import annotations

import datetime as dt

import msgspec
from aiohttp import web

from api.health import admit_operations
from api.routing import Route, json_answer
from api.services import Services, services
from ingest.log_status import LogStatus, PartitionStatus, WorkerStatus
from storage.database import StorageUnavailable
from storage.edition import edition


class DatabaseHealth(msgspec.Struct):
    """`ok` or `down`; while it is `ok` its edition (`plain`, `apache` or `community`) and the versions of its parts."""

    status: str
    edition: str | None = None
    postgresql: str | None = None
    timescaledb: str | None = None


class LogHealth(msgspec.Struct):
    """The log: `direct`, where an event is counted when it is accepted, or `kafka` with its partitions.

    `status`: `ok`, `down` (Kafka does not answer, `problem` says how) or `stuck`: a partition has had events for so long and was not
    moved on, whatever its worker says. `moving` is the opposite. `lag`: events that are not counted yet. `as_of`: what was accepted
    before is counted.
    """

    kind: str
    status: str
    moving: bool
    lag: int | None = None
    as_of: dt.datetime | None = None
    problem: str | None = None
    partitions: list[PartitionStatus] = []


class DeadLetterHealth(msgspec.Struct):
    """How many records wait to be looked at: `streamgauge dead-letters list`."""

    waiting: int


class DetailedHealth(msgspec.Struct):
    """`ok`, or `down` with what is missing."""

    status: str
    database: DatabaseHealth
    log: LogHealth
    workers: list[WorkerStatus]
    dead_letters: DeadLetterHealth


async def detailed(request: web.Request) -> web.StreamResponse:
    """200 where all that is needed works; 503 where the database or Kafka is away, or events are not counted."""
    admit_operations(request)
    parts = services(request)
    try:
        async with parts.database.owner() as connection:
            found = await edition(connection)
        database = DatabaseHealth("ok", found.name, found.postgresql, found.timescaledb)
    except StorageUnavailable:
        database = DatabaseHealth("down")
    status = None if parts.log_status is None else parts.log_status()
    log = _log(parts, status)
    well = database.status == "ok" and log.status == "ok"
    health = DetailedHealth(
        "ok" if well else "down",
        database,
        log,
        [] if status is None else status.workers,
        DeadLetterHealth(0 if status is None else status.dead_letters),
    )
    return json_answer(health, status=200 if well else 503, headers={} if well else {"Retry-After": "2"})


def _log(parts: Services, status: LogStatus | None) -> LogHealth:
    if status is None:
        return LogHealth("direct", "ok", True)
    moving = status.stuck_s() < parts.stall_s
    lags = [partition.lag for partition in status.partitions]
    return LogHealth(
        "kafka",
        "down" if status.problem else "ok" if moving else "stuck",
        moving,
        None if None in lags else sum(lag or 0 for lag in lags),
        status.fresh_until(),
        status.problem,
        status.partitions,
    )


ROUTES = [
    Route(
        "GET",
        "/health/detailed",
        detailed,
        "How every part is",
        scope=None,
        answer=DetailedHealth,
        tags=("operations",),
        errors=(401, 503),
    )
]
