"""`/health/detailed`: every part by itself, the log by partition. It holds no organization's data."""

from __future__ import annotations

import asyncio
import datetime as dt

import msgspec
from aiohttp import web

from api.cache.answers import CacheHealth
from api.disk import DiskHealth
from api.health import admit_operations
from api.routing import Route, json_answer
from api.services import Services, services
from ingest.log_status import LogStatus, PartitionStatus, WorkerStatus
from storage.archive_books import archive_totals
from storage.database import StorageUnavailable
from storage.edition import edition
from storage.job_runs import JobRun, job_runs

ALIVE = "alive"
"""The job by which a scheduler shows that it lives."""
LATE = 3.0
"""A job that did not come to its end for so many times its interval is late; a scheduler of which `alive` is late is down."""


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


class JobHealth(msgspec.Struct):
    """One of the scheduler's jobs: how often it is due, when it last came to its end, and when it last failed with which problem.

    `late`: it did not come to its end for three times as long, or never has although a scheduler lives.
    """

    job: str
    every_seconds: float
    ran_at: dt.datetime | None
    age_seconds: float | None
    late: bool
    failed_at: dt.datetime | None
    problem: str | None


class SchedulerHealth(msgspec.Struct):
    """`ok` where a scheduler lives in some process, `down` where none has for half a minute, `unknown` without a database.

    Without one events are counted and figures read all the same; old rows are not removed, boards and reports stand still.
    """

    status: str
    alive_at: dt.datetime | None = None
    age_seconds: float | None = None
    jobs: list[JobHealth] = []


class ArchiveHealth(msgspec.Struct):
    """The archive of raw events: days of a kind, rows and bytes in it. It is written where raw events have a retention.

    `oldest_waiting` is the oldest day that should have been archived and could not be when `looked_at` was, `days_waiting` how many are.
    """

    days: int
    rows: int
    bytes: int
    looked_at: dt.datetime | None
    oldest_waiting: dt.date | None
    days_waiting: int


class DetailedHealth(msgspec.Struct):
    """`ok`, or `down` where a needed part is: the database, the log, and the disk where events are stored on it.

    The scheduler, the archive and the cache are not needed to take events and to read figures. `cache` and `disk` are null where there
    is none, `archive` where the database is down.
    """

    status: str
    database: DatabaseHealth
    log: LogHealth
    workers: list[WorkerStatus]
    dead_letters: DeadLetterHealth
    cache: CacheHealth | None
    scheduler: SchedulerHealth
    disk: DiskHealth | None
    archive: ArchiveHealth | None


async def detailed(request: web.Request) -> web.StreamResponse:
    """200 where all that is needed works; 503 where the database or Kafka is away, events are not counted, or their disk is full."""
    admit_operations(request)
    parts = services(request)
    try:
        async with parts.database.service() as connection:
            found = await edition(connection)
            scheduler = scheduler_health(await job_runs(connection))
            archive: ArchiveHealth | None = ArchiveHealth(**(await archive_totals(connection)).__dict__)
        database = DatabaseHealth("ok", found.name, found.postgresql, found.timescaledb)
    except StorageUnavailable:
        database, scheduler, archive = DatabaseHealth("down"), SchedulerHealth("unknown"), None
    status = None if parts.log_status is None else parts.log_status()
    log = _log(parts, status)
    disk = None if parts.disk is None else await asyncio.to_thread(parts.disk.health)
    well = database.status == "ok" and log.status == "ok" and not (disk is not None and disk.hinders)
    health = DetailedHealth(
        "ok" if well else "down",
        database,
        log,
        [] if status is None else status.workers,
        DeadLetterHealth(0 if status is None else status.dead_letters),
        None if parts.cache_health is None else parts.cache_health(),
        scheduler,
        disk,
        archive,
    )
    return json_answer(health, status=200 if well else 503, headers={} if well else {"Retry-After": "2"})


def scheduler_health(runs: list[JobRun]) -> SchedulerHealth:
    """What the stamps of the jobs say."""
    beat = next((run for run in runs if run.job == ALIVE), None)
    if beat is None:
        return SchedulerHealth("down")
    alive = not _late(beat)
    jobs = [
        JobHealth(run.job, run.every_s, run.ran_at, run.age_s, _late(run), run.failed_at, run.problem)
        for run in runs
        if run.job != ALIVE
    ]
    return SchedulerHealth("ok" if alive else "down", beat.ran_at, beat.age_s, jobs)


def _late(run: JobRun) -> bool:
    return run.age_s is not None and run.age_s > LATE * run.every_s


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
        errors=(401,),
        also={503: {"application/json": DetailedHealth}},
    )
]
