"""The whole service on a free port, over a database of the test's own and a clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import io
import json
import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import aiohttp
from aiohttp import web
from argon2 import PasswordHasher
from multidict import CIMultiDictProxy

from aggregators.definitions import ROLLUPS
from api.app import application
from api.auth.authenticate import Authenticator
from api.auth.keys import mint
from api.auth.linking import ForeignIssuer
from api.auth.passwords import Passwords
from api.cache.answers import ResponseCache
from api.connections import Times
from api.edge import Edge
from api.exports.bounds import ExportBounds
from api.observation import Observation
from api.serve import serving
from api.services import Services
from api.stream.hub import Hub
from api.stream.readers import READERS, Readers
from ingest.direct import DirectLog
from ingest.events.decode import Limits
from ingest.log import Log
from ingest.names import MetricNames
from jobs.export_workbook import write_workbook
from storage import identity
from storage.archive import Archive
from storage.database import Database
from storage.leaderboard import refresh_standings, standings
from storage.metric_names import known_names
from storage.sink import DatabaseSink
from tests.integration.event_maker import EventMaker
from tests.integration.stream_reader import LONG, Stream, small_buffers

SECRET = b"0123456789abcdef0123456789abcdef"
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
QUICK = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
"""argon2id as ever, at a price that a test can pay."""
MAX_BODY = 8 * 1024 * 1024


@dataclass
class Clock:
    """What time the service takes it to be: half a minute past noon, so that noon's own minute is over in no default range."""

    now: datetime = NOON + timedelta(seconds=30)


@dataclass
class Reply:
    """An answer that was read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body with every number that has a point as a decimal."""
        return json.loads(self.body, parse_float=Decimal)

    @property
    def rows(self) -> list[list[Any]]:
        """The rows of a query."""
        assert self.status == 200, self.text
        return list(self.json["rows"])


@dataclass
class Api(EventMaker):
    """A running service and somebody who has an API key of its organization with every scope."""

    url: str
    services: Services
    clock: Clock
    organization: UUID
    session: aiohttp.ClientSession
    headers: dict[str, str]
    numbers: list[int] = field(default_factory=lambda: [0])
    app: web.Application | None = None

    @property
    def readers(self) -> Readers:
        """The open streams of the service."""
        assert self.app is not None
        return self.app[READERS]

    async def request(self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> Reply:
        """An answer, whatever its status."""
        sent = {**self.headers, **(headers or {})}
        async with self.session.request(method, self.url + path, headers=sent, **options) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def get(self, path: str, *, headers: dict[str, str] | None = None, **parameters: Any) -> Reply:
        """Asks with query parameters; `from_` stands for `from`, a list for one that is repeated."""
        pairs = [
            (name.rstrip("_"), str(one))
            for name, value in parameters.items()
            for one in (value if isinstance(value, list) else [value])
        ]
        return await self.request("GET", path, headers=headers, params=pairs)

    async def query(self, rollup: str, **parameters: Any) -> Reply:
        """Asks `/api/v1/query`."""
        return await self.get("/api/v1/query", rollup=rollup, **parameters)

    async def post(self, body: bytes, content_type: str = "application/json", **headers: str) -> Reply:
        """Sends a body of events as it is."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.request(
            "POST", "/api/v1/events", data=io.BytesIO(body), headers={"Content-Type": content_type, **named}
        )

    async def send(self, events: Sequence[dict[str, Any]], *, wait: bool = True) -> None:
        """Sends events that must all be accepted; unless told not to, waits until they are in all that is read."""
        for at in range(0, len(events), 10_000):
            part = events[at : at + 10_000]
            reply = await self.post(json.dumps(part).encode())
            assert (reply.status, reply.json) == (202, {"accepted": len(part), "rejected": []}), reply.text
        if wait and any(event["type"] == "view" for event in events):
            await self.caught_up()

    async def caught_up(self) -> None:
        """Returns once the creators' standings hold every view event."""
        async with asyncio.timeout(30):
            while not (await standings(self.services.database, self.organization, "all", limit=1)).current:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def stream(
        self,
        path: str = "/api/v1/stream",
        *,
        headers: dict[str, str] | None = None,
        narrow: bool = False,
        **parameters: Any,
    ) -> AsyncIterator[Stream]:
        """An open stream of server-sent events; a `narrow` one has a small buffer for what is not read."""
        pairs = [(name.rstrip("_"), str(value)) for name, value in parameters.items()]
        sent = {**self.headers, **(headers or {})}
        # Each stream has a connection of its own, as in a browser with HTTP/2.
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(socket_factory=small_buffers if narrow else None)
            ) as session,
            session.get(self.url + path, params=pairs, headers=sent, timeout=LONG) as answer,
        ):
            assert answer.status == 200, await answer.text()
            yield Stream(answer)


async def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Waits until something holds; raises TimeoutError where it does not in time."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  (what is waited for has no event of its own)
            await asyncio.sleep(0.01)


async def make_organization(database: Database, name: str, *, time_zone: str = "UTC") -> tuple[UUID, dict[str, str]]:
    """An organization and the headers of its API key."""
    organization = await identity.create_organization(database, name, time_zone=time_zone)
    key = mint()
    await identity.create_api_key(
        database, organization, name, prefix=key.prefix, key_digest=key.digest, scopes=["read", "events:write"]
    )
    return organization, {"Authorization": f"Bearer {key.text}"}


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to outgoing connections."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")


@asynccontextmanager
async def running(
    url: str,
    *,
    clock: Clock | None = None,
    log: Log | None = None,
    known: Api | None = None,
    time_zone: str = "UTC",
    refreshing: bool = True,
    cache: Callable[[Database], ResponseCache] = ResponseCache,
    issuers: Sequence[ForeignIssuer] = (),
    edge: Edge | None = None,
    times: Times | None = None,
    sink_url: str | None = None,
    jobs_url: str | None = None,
    archive: Archive | None = None,
    exports: ExportBounds | None = None,
) -> AsyncIterator[Api]:
    """The service; over the database of a `known` one it is that one started again, with the same organization and key.

    Without `refreshing` it has no scheduler. `cache` makes what keeps its answers. The sink and the scheduler may have logins of
    their own.
    """
    clock = clock or (known.clock if known else Clock())
    database = Database(url)
    await database.open()
    observation = Observation()
    sink = DatabaseSink(sink_url or url, ROLLUPS)
    direct = DirectLog(sink, observation)
    hub = Hub(database, observation)
    await hub.start()
    made = (
        (known.organization, known.headers) if known else await make_organization(database, "Acme", time_zone=time_zone)
    )
    services = Services(
        database=database,
        log=log or direct,
        names=MetricNames(await known_names(database)),
        limits=Limits(),
        authenticator=Authenticator(database, SECRET, issuers=issuers, now=lambda: clock.now),
        hub=hub,
        observation=observation,
        now=lambda: clock.now,
        max_body_bytes=MAX_BODY,
        own_organization=made[0],
        configuration={"version": "test"},
        cache=cache(database),
        passwords=Passwords(hasher=QUICK),
        edge=edge or Edge(),
        archive=archive,
        exports=exports or ExportBounds(),
        write_workbook=write_workbook,
    )
    app = application(services)
    numbers = known.numbers if known else [0]
    keeping = Database(jobs_url or url, size=2)
    await keeping.open()
    scheduler = asyncio.create_task(_refresh_always(keeping, clock) if refreshing else asyncio.sleep(0))
    try:
        async with (
            serving(app, "127.0.0.1", free_port(), times=times) as port,
            aiohttp.ClientSession() as session,
        ):
            yield Api(f"http://127.0.0.1:{port}", services, clock, made[0], session, made[1], numbers, app)
    finally:
        while not scheduler.done():
            # Once is not always enough: a pool's waiting may take the cancellation to itself (Python 3.11).
            scheduler.cancel()
            await asyncio.wait([scheduler], timeout=1.0)
        await asyncio.gather(scheduler, return_exceptions=True)
        await keeping.close()
        await hub.stop()
        await direct.close()
        sink.close()
        await database.close()


async def _refresh_always(database: Database, clock: Clock) -> None:
    """The scheduler's part of the service, without its pauses."""
    while True:
        await refresh_standings(database, interval_s=0, now=clock.now)
        await asyncio.sleep(0.05)


@asynccontextmanager
async def another(api: Api, name: str, *, time_zone: str = "UTC") -> AsyncIterator[Api]:
    """Somebody else's view of the same service: another organization, another key."""
    organization, headers = await make_organization(api.services.database, name, time_zone=time_zone)
    yield Api(api.url, api.services, api.clock, organization, api.session, headers, app=api.app)


def utc_now() -> datetime:
    """The wall clock, for access tokens, whose time is checked against it."""
    return datetime.now(UTC)
