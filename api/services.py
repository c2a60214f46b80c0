"""What handlers work with: the parts that the front door built, in one value in the application."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from aiohttp import web

from api.auth.authenticate import Authenticator
from api.auth.passwords import Passwords
from api.cache.answers import CacheHealth, ResponseCache
from api.disk import Disk
from api.edge import Edge
from api.exports.bounds import ExportBounds, WorkbookWriter
from api.observation import Observation
from api.request_counts import RequestCounts
from api.stream.hub import Hub
from ingest.events.decode import Limits
from ingest.log import Log
from ingest.log_status import LogStatus
from ingest.names import MetricNames
from storage.archive import Archive
from storage.database import Database


@dataclass(frozen=True)
class Services:
    """The parts an API process needs. `computing` is where large requests are decoded (see ingest.direct.DirectLog)."""

    database: Database
    log: Log
    names: MetricNames
    limits: Limits
    authenticator: Authenticator
    hub: Hub
    observation: Observation
    now: Callable[[], dt.datetime]
    computing: Executor | None = None
    decoding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Requests that are handed to `computing` at once: one that is decoded and one that is next. What is prepared for the database
    stands in the same line, and would wait for all of them."""
    max_body_bytes: int = 32 * 1024 * 1024
    public_operations: bool = True
    open_registration: bool = True
    """Whether anybody may register; else only who was invited."""
    passwords: Passwords = field(default_factory=Passwords)
    """One for all of the process: it bounds what hashing may take."""
    sign_in_providers: tuple[str, ...] = ()
    """Names of the other issuers whose access tokens are taken, as `auth0`."""
    log_status: Callable[[], LogStatus] | None = None
    """How Kafka's log is; None where the log is the direct one."""
    cache: ResponseCache | None = None
    """Keeps answers; without one each is read anew."""
    stall_s: float = 30.0
    """After which a partition that has events and does not move is called stuck."""
    requests: RequestCounts = field(default_factory=RequestCounts)
    """What this process has answered and not published yet."""
    own_organization: UUID | None = None
    """Where API processes publish what they measure of themselves; None where they do not."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """Facts about how the service is set up that are no secrets, the same in every process."""
    disk: Disk | None = None
    """The disk to watch; None where there is none of ours."""
    cache_hit_rate: Callable[[], float | None] | None = None
    """The share of reads that the cache answered, in %; None without a cache."""
    edge: Edge = field(default_factory=Edge)
    """The bounds that callers meet."""
    cache_health: Callable[[], CacheHealth] | None = None
    """How the cache is; None without a cache."""

    archive: Archive | None = None
    """Where raw events are that were dropped from the database; None where nothing is archived."""
    raw_questions: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """How many questions to the raw events are answered at once."""
    download_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    """Signs the addresses of files; the same in all processes of a service."""
    public_url: str | None = None
    """Under which address people reach the service; None where it is the one that they asked."""
    exports: ExportBounds = field(default_factory=ExportBounds)
    """What exports may take of the process."""
    write_workbook: WorkbookWriter | None = None
    """Writes tables as workbooks; None where that is not offered."""


SERVICES = web.AppKey("services", Services)


def services(request: web.Request) -> Services:
    """The parts, from a request."""
    return request.app[SERVICES]
