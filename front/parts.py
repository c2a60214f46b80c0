"""The service's parts, built from the settings and handed to each other: the only place that knows them all."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
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
from api.observation import Observation
from api.request_counts import RequestCounts
from api.request_telemetry import RequestTelemetry
from api.serve import require_free, serving
from api.services import Services
from api.stream.hub import Hub
from front import kafka
from front.caching import response_cache
from front.event_log import event_log
from front.filling import filling
from front.issuers import foreign_issuers, issuer_names, require_organizations
from front.settings import InvalidSetting, Settings, variable
from ingest.collectors.host import HostCollector
from ingest.collectors.incarnation import incarnation
from ingest.events import Event
from ingest.log import Batch, Log
from ingest.log_status import LogStatus
from ingest.names import MetricNames
from jobs.demo import run_demo
from jobs.log_monitor import LogMonitor
from jobs.scheduler import housekeeping
from storage.bootstrap import ADMIN_EMAIL, Bootstrap, bootstrap, ensure_demo_organization
from storage.database import Database
from storage.embedded import EmbeddedPostgres
from storage.metric_names import known_names
from storage.migrate import migrate
from storage.sessions import create_sign_in_link

log = structlog.get_logger(__name__)

CREDENTIALS = "credentials.json"

DEMO_SEED = 2026
"""The same at every start: a demo that starts again goes on where it was."""


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """The database's URL: the one that is set, or the embedded server's, which runs while the block does."""
    if settings.database_url:
        yield settings.database_url
        return
    for field in ("api_database_url", "sink_database_url", "jobs_database_url"):
        if getattr(settings, field) is not None:
            raise InvalidSetting(
                f"{variable(field)}: is another login to the database of DATABASE_URL, which is not set"
            )
    server = EmbeddedPostgres(settings.data)
    url = server.start()
    log.info("embedded_postgresql", cluster=str(server.cluster))
    try:
        yield url
    finally:
        server.stop()


def jwt_secret(settings: Settings) -> bytes:
    """The secret that signs access tokens: the one that is set, or one that is made once and kept in the data folder."""
    if settings.jwt_secret is not None:
        if len(settings.jwt_secret.encode()) < 32:
            raise InvalidSetting("JWT_SECRET: must have at least 32 bytes")
        return settings.jwt_secret.encode()
    path = settings.data / "jwt_secret"
    if not path.exists():
        _write_private(path, secrets.token_hex(32))
    return path.read_text("utf-8").strip().encode()


def _write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


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
    settings.data.mkdir(parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        url = join.database_url if join else await _entered(stack, database_url(settings))
        unfilled = await asyncio.to_thread(migrate, url, ROLLUPS, compress_after_days=settings.compress_after_days)
        database = await _opened(stack, settings.api_database_url or url)

        passwords = Passwords()
        first = await bootstrap(database, lambda: first_secrets(passwords), lambda made: _keep(settings, made))
        await require_organizations(settings, database)
        demo_organization = await ensure_demo_organization(database) if demo else None

        shared = settings.workers > 1
        observation = Observation(shared=shared)
        computing = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="computing"))
        opened = await stack.enter_async_context(
            event_log(settings, settings.sink_database_url or url, database, observation, computing, with_worker=whole)
        )
        hub = Hub(database, observation)
        await hub.start()
        cache = await stack.enter_async_context(response_cache(settings, database))
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
            cache_hit_rate=cache.hit_rate if cache else None,
            cache_health=cache.health if cache else None,
            stall_s=settings.stall_seconds,
            own_organization=first.organization if settings.collect_host else None,
            configuration=_configuration(settings),
            disk=await asyncio.to_thread(_disk, settings),
        )
        tasks = await stack.enter_async_context(_tasks())
        if shared and join is None:
            await require_free(settings.host, settings.port)
        asked = join.port if join else settings.port
        port = await stack.enter_async_context(serving(application(services), settings.host, asked, shared=shared))
        if whole:
            keeping = (
                database if settings.jobs_database_url is None else await _opened(stack, settings.jobs_database_url)
            )
            await stack.enter_async_context(
                housekeeping(keeping, retention_days=settings.retention_days, ledger_hours=settings.ledger_hours)
            )
            await stack.enter_async_context(filling(settings.jobs_database_url or url, unfilled))
        if settings.collect_host:
            name = f"{_hostname()}/api:{port}" + (f"-{join.number}" if join else "")
            tasks(_request_telemetry(opened.log, first.organization, services.requests, name).run)
        if settings.collect_host and whole:
            tasks(_host_collector(opened.log, first.organization).run)
        if demo_organization is not None:
            tasks(lambda: run_demo(_publisher(opened.log, demo_organization), utc_now, Random(DEMO_SEED)))  # noqa: S311
        base = settings.public_url or f"http://127.0.0.1:{port}"
        _refresh_url(settings.data / CREDENTIALS, base)
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


def _publisher(log_: Log, organization: UUID) -> Callable[[list[Event]], Awaitable[None]]:
    async def publish(events: list[Event]) -> None:
        for refusal in await log_.publish(Batch(organization, events)):
            log.warning("own_event_refused", id=events[refusal.position].id, error=refusal.error)

    return publish


def _host_collector(log_: Log, organization: UUID) -> HostCollector:
    random = Random()  # noqa: S311  (spreads retries and names this start; nothing secret)
    return HostCollector(
        _publisher(log_, organization),
        hostname=_hostname(),
        incarnation=incarnation(utc_now(), random),
        clock=utc_now,
        random=random,
    )


def _hostname() -> str:
    return socket.gethostname() or "localhost"


def _request_telemetry(log_: Log, organization: UUID, counts: RequestCounts, name: str) -> RequestTelemetry:
    random = Random()  # noqa: S311  (spreads retries and names this start; nothing secret)
    return RequestTelemetry(
        _publisher(log_, organization),
        counts,
        host=name,
        incarnation=incarnation(utc_now(), random),
        clock=utc_now,
        random=random,
    )


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


def _keep(settings: Settings, made: Bootstrap) -> None:
    """Writes credentials.json before the account that it opens is there."""
    assert made.secrets is not None
    values = {
        "url": settings.public_url or f"http://127.0.0.1:{settings.port}",
        "organization_id": str(made.organization),
        "admin_email": ADMIN_EMAIL,
        "admin_password": made.secrets.password,
        "api_key": made.secrets.api_key,
    }
    _write_private(settings.data / CREDENTIALS, json.dumps(values, indent=2) + "\n")


def _refresh_url(path: Path, url: str) -> None:
    """Keeps the address in credentials.json that of this start; whoever reads it finds the service."""
    if not path.exists():
        return
    values = json.loads(path.read_text("utf-8"))
    if values.get("url") != url:
        _write_private(path, json.dumps({**values, "url": url}, indent=2) + "\n")


async def _sign_in(database: Database, first: Bootstrap, demo: UUID | None, base: str) -> str | None:
    """A link that signs the admin in once, straight into the demo organization where there is one."""
    if first.admin is None:
        return None
    token = secrets.token_urlsafe(32)
    await create_sign_in_link(
        database, token, account=first.admin, organization=demo or first.organization, now=utc_now()
    )
    return f"{base}/signin?token={token}"
