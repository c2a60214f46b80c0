"""The service's parts, built from the settings and handed to each other: the only place that knows them all."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import structlog

from aggregators.definitions import ROLLUPS
from api.app import VERSION, application
from api.auth.authenticate import Authenticator, utc_now
from api.auth.first_secrets import first_secrets
from api.auth.passwords import Passwords
from api.disk import Disk
from api.exports.bounds import ExportBounds
from api.observation import Observation
from api.serve import require_free, serving
from api.services import Services
from api.stream.hub import Hub
from front import kafka
from front.alert_log import publish_to
from front.bounds import bounds, connection_times
from front.caching import response_cache
from front.credentials import CREDENTIALS, jwt_secret, keep_credentials, refresh_url
from front.database import database_url
from front.delivering import channels, delivering
from front.event_log import event_log
from front.filling import filling
from front.issuers import foreign_issuers, issuer_names, require_organizations
from front.own_events import host_collector, hostname, publisher, request_telemetry
from front.raw_archive import raw_archive
from front.report_fonts import report_fonts
from front.settings import Settings
from ingest.log_status import LogStatus
from ingest.names import MetricNames
from jobs.demo import run_demo
from jobs.export_workbook import write_workbook
from jobs.log_monitor import LogMonitor
from jobs.report_runs import report_runs
from jobs.scheduler import housekeeping
from storage.bootstrap import Bootstrap, bootstrap, ensure_demo_organization
from storage.database import Database
from storage.embedded import EmbeddedPostgres
from storage.metric_names import known_names
from storage.migrate import migrate
from storage.report_links import download_key
from storage.sessions import create_sign_in_link

log = structlog.get_logger(__name__)

DEMO_SEED = 2026
"""The same at every start: a demo that starts again goes on where it was."""


@dataclass(frozen=True)
class Place:
    """The database and the port of a service that runs already. `number` is that of a process that joins it."""

    database_url: str
    port: int
    number: int = 0


@dataclass(frozen=True)
class Running:
    """A service that answers: where, and what makes a link that signs its admin in once (None where nobody's password is new).

    `worker` ends by itself only where it must. `place` is where another process finds database and port.
    """

    url: str
    sign_in: Callable[[], Awaitable[str | None]]
    credentials: Path | None
    organization: UUID
    demo: UUID | None
    worker: asyncio.Task[None] | None
    place: Place


@asynccontextmanager
async def service(
    settings: Settings, *, demo: bool = False, whole: bool = True, join: Place | None = None
) -> AsyncIterator[Running]:
    """Runs the service in this process while the block does.

    The `whole` one has everything in it: API, sink or worker, scheduler and collectors. Otherwise it is an API process, one of
    as many as are wanted; it may `join` one that listens on its port already.
    """
    issuers = foreign_issuers(settings)
    fonts = report_fonts(settings) if whole else ()
    ways = channels(settings)
    settings.data.mkdir(parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        url = join.database_url if join else await _entered(stack, database_url(settings))
        unfilled = await asyncio.to_thread(migrate, url, ROLLUPS, compress_after_days=settings.compress_after_days)
        database = await _opened(stack, settings.api_database_url or url)

        passwords = Passwords()
        first = await bootstrap(
            database, lambda: first_secrets(passwords), lambda made: keep_credentials(settings, made)
        )
        await require_organizations(settings, database)
        demo_organization = await ensure_demo_organization(database) if demo else None

        archive = raw_archive(settings)
        shared = settings.workers > 1
        observation = Observation(shared=shared)
        computing = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="computing"))
        opened = await stack.enter_async_context(
            event_log(settings, settings.sink_database_url or url, database, observation, computing, with_worker=whole)
        )
        hub = Hub(database, observation)
        await hub.start()
        cache = await stack.enter_async_context(response_cache(settings, database))
        edge = await stack.enter_async_context(bounds(settings))
        services = Services(
            database=database,
            log=opened.log,
            names=MetricNames(await known_names(database), limit=settings.metric_names),
            limits=kafka.limits(settings),
            authenticator=Authenticator(
                database,
                jwt_secret(settings),
                issuers=issuers,
                token_lifetime=dt.timedelta(minutes=settings.access_token_minutes),
            ),
            sign_in_providers=issuer_names(settings),
            hub=hub,
            observation=observation,
            now=utc_now,
            computing=computing,
            max_body_bytes=settings.max_body_bytes,
            public_operations=(
                settings.database_url is None if settings.public_operations is None else settings.public_operations
            ),
            passwords=passwords,
            open_registration=settings.open_registration,
            log_status=_status_of(opened.monitor),
            cache=cache,
            edge=edge,
            cache_hit_rate=cache.hit_rate if cache else None,
            cache_health=cache.health if cache else None,
            stall_s=settings.stall_seconds,
            own_organization=first.organization if settings.collect_host else None,
            configuration=_configuration(settings),
            download_key=download_key(jwt_secret(settings)),
            public_url=settings.public_url,
            archive=archive,
            exports=ExportBounds(at_once=settings.exports, longest_s=settings.export_seconds),
            write_workbook=write_workbook,
            disk=await asyncio.to_thread(_disk, settings),
        )
        tasks = await stack.enter_async_context(_tasks())
        if shared and join is None:
            await require_free(settings.host, settings.port)
        asked = join.port if join else settings.port
        port = await stack.enter_async_context(
            serving(application(services), settings.host, asked, shared=shared, times=connection_times(settings))
        )
        if whole:
            keeping = (
                database if settings.jobs_database_url is None else await _opened(stack, settings.jobs_database_url)
            )
            await stack.enter_async_context(
                housekeeping(
                    keeping,
                    retention_days=settings.retention_days,
                    archive=archive,
                    ledger_hours=settings.ledger_hours,
                )
            )
            await stack.enter_async_context(
                report_runs(keeping, processes=settings.report_processes, fonts=fonts, now=utc_now, archive=archive)
            )
            await stack.enter_async_context(delivering(settings, ways, keeping, observation, publish_to(opened.log)))
            await stack.enter_async_context(filling(settings.jobs_database_url or url, unfilled, archive))
        if settings.collect_host:
            name = f"{hostname()}/api:{port}" + (f"-{join.number}" if join else "")
            tasks(request_telemetry(opened.log, first.organization, services.requests, name).run)
        if settings.collect_host and whole:
            tasks(host_collector(opened.log, first.organization).run)
        if demo_organization is not None:
            tasks(lambda: run_demo(publisher(opened.log, demo_organization), utc_now, Random(DEMO_SEED)))  # noqa: S311
        base = settings.public_url or f"http://127.0.0.1:{port}"
        refresh_url(settings.data / CREDENTIALS, base)
        yield Running(
            url=base,
            sign_in=lambda: _sign_in(database, first, demo_organization, base),
            credentials=settings.data / CREDENTIALS if (settings.data / CREDENTIALS).exists() else None,
            organization=first.organization,
            demo=demo_organization,
            worker=opened.worker,
            place=Place(url, port),
        )


def _status_of(monitor: LogMonitor | None) -> Callable[[], LogStatus] | None:
    return None if monitor is None else lambda: monitor.status


async def _entered(stack: contextlib.AsyncExitStack, manager: contextlib.AbstractContextManager[str]) -> str:
    """Enters a blocking context in a thread, and leaves it in one."""
    value = await asyncio.to_thread(manager.__enter__)
    stack.push_async_callback(asyncio.to_thread, manager.__exit__, None, None, None)
    return value


async def _opened(stack: contextlib.AsyncExitStack, url: str) -> Database:
    database = Database(url)
    await database.open()
    stack.push_async_callback(database.close)
    return database


@asynccontextmanager
async def _tasks() -> AsyncIterator[Callable[[Callable[[], Awaitable[object]]], None]]:
    """Background work that ends with the block. One that fails is told of and does not take the service with it."""
    running: set[asyncio.Task[None]] = set()

    async def guarded(work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except Exception:
            log.exception("background_work_failed")

    def start(work: Callable[[], Awaitable[object]]) -> None:
        task = asyncio.create_task(guarded(work))
        running.add(task)
        task.add_done_callback(running.discard)

    try:
        yield start
    finally:
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _disk(settings: Settings) -> Disk:
    """The disk with the embedded cluster, wherever that is; with a database elsewhere, the data folder's."""
    if settings.database_url is not None:
        return Disk(settings.data, needed=False)
    return Disk(EmbeddedPostgres(settings.data).cluster, needed=True)


def _configuration(settings: Settings) -> dict[str, Any]:
    """What `/api/performance` shows of the settings: limits and sizes, nothing that opens a door."""
    shown = (
        "queue_events",
        "group_events",
        "max_body_bytes",
        "metric_names",
        "ledger_hours",
        "ahead_minutes",
        "retention_days",
        "stall_seconds",
    )
    return {
        "version": VERSION,
        "log": "direct" if settings.kafka_bootstrap_servers is None else "kafka",
        "database": "embedded" if settings.database_url is None else "external",
        **{name: getattr(settings, name) for name in shown},
    }


async def _sign_in(database: Database, first: Bootstrap, demo: UUID | None, base: str) -> str | None:
    """A link that signs the admin in once, straight into the demo organization where there is one."""
    if first.admin is None:
        return None
    token = secrets.token_urlsafe(32)
    await create_sign_in_link(
        database, token, account=first.admin, organization=demo or first.organization, now=utc_now()
    )
    return f"{base}/signin?token={token}"
