"""Logins of one's own for what asks, what counts and what keeps house; and an owner that is no superuser."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from aggregators.definitions import ROLLUPS
from front.parts import database_url
from front.settings import InvalidSetting, read
from jobs.report_runs import report_runs
from jobs.report_schedules import make_due
from jobs.retention import RawRetention
from jobs.scheduler import housekeeping
from storage.archive import Archive
from storage.audit import prune_audit
from storage.database import Database, StorageFault, StorageUnavailable
from storage.embedded import EmbeddedPostgres
from storage.migrate import migrate
from storage.recompute import rebuild, verify
from storage.report_dues import prune_dues
from storage.retention import prune_feed, prune_ledgers, prune_sources
from storage.sessions import prune_expired
from tests.conftest import database_of
from tests.integration.api_service import Api, running, utc_now
from tests.integration.people import joined, registered
from tests.integration.schedule_service import DAILY, SCHEDULES
from tests.integration.test_isolation import fill

LOGINS = {
    "api": ("streamgauge_api", "streamgauge_identity", "streamgauge_service"),
    "sink": ("streamgauge_sink", "streamgauge_service"),
    "jobs": ("streamgauge_jobs", "streamgauge_service", "streamgauge_api"),
}
"""As docs/identity.md gives them."""


@dataclass(frozen=True)
class Place:
    """A database that an ordinary role owns, and a login for each kind of process; all as URLs."""

    owner: str
    logins: dict[str, str]
    superuser: str


def as_user(url: str, user: str) -> str:
    """The URL with another user, who needs no password here."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}"))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server on which nobody has made our roles before."""
    base = Path(tempfile.mkdtemp(prefix="sg-logins-", dir="/tmp"))
    base.chmod(0o755)
    try:
        with EmbeddedPostgres(base / "data", settings={"fsync": "off", "full_page_writes": "off"}) as server:
            yield server.start()
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def place(server: str) -> Place:
    superuser = database_of(server, "owned")
    with psycopg.connect(server, autocommit=True) as connection:
        hba = connection.execute("show hba_file").fetchone()
        assert hba is not None
        let_in = sql.SQL("copy (select 'local all all trust') to program {}").format(sql.Literal(f"cat >> '{hba[0]}'"))
        connection.execute(let_in)
        connection.execute("select pg_reload_conf()")
        connection.execute("create role owning login createrole")
        connection.execute("create database owned owner owning")
    migrate(as_user(superuser, "owning"), ROLLUPS)
    with psycopg.connect(as_user(superuser, "owning"), autocommit=True) as connection:
        # As docs/identity.md has it, by the owner.
        for kind, roles in LOGINS.items():
            connection.execute(
                sql.SQL("create role {} login noinherit in role {}").format(
                    sql.Identifier(kind), sql.SQL(", ").join(map(sql.Identifier, roles))
                )
            )
    return Place(as_user(superuser, "owning"), {kind: as_user(superuser, kind) for kind in LOGINS}, superuser)


@pytest.fixture
async def service(place: Place) -> AsyncIterator[Api]:
    """The whole service, each part with its own login."""
    async with running(place.logins["api"], sink_url=place.logins["sink"], jobs_url=place.logins["jobs"]) as api:
        yield api


def user_of(url: str) -> str:
    return urlsplit(url).username or ""


async def test_the_service_runs_with_a_login_for_each_of_its_parts(service: Api, place: Place) -> None:
    await fill(service, "ours")
    for path in (
        "/users/top",
        "/api/v1/query?rollup=trade_pnl&from=2026-03-01",
        "/api/unify/v1/metrics",
        "/api/v1/metrics",
        "/api/v1/deployments",
        "/api/v1/dashboard/stats",
        "/health/detailed",
        "/api/performance",
    ):
        reply = await service.get(path)
        assert reply.status in (200, 503 if path == "/health/detailed" else 200), reply.text
    service.clock.now = utc_now()
    owner = await registered(service)
    member = await joined(owner)
    assert (await owner.ask("POST", "/api/v1/api-keys", {"name": "k", "scopes": ["read"]})).status == 201
    assert (await owner.ask("GET", "/api/v1/audit")).status == 200
    assert (await member.ask("GET", "/api/auth/me")).status == 200
    async with service.stream(rollup="trade_pnl", measures="net") as stream:
        assert await stream.next() is not None
    with psycopg.connect(place.superuser) as connection:
        there = connection.execute(
            "select distinct usename from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        ).fetchall()
    assert {name for (name,) in there} <= {user_of(url) for url in place.logins.values()}


async def test_housekeeping_and_recomputation_need_the_jobs_login_only(
    service: Api, place: Place, tmp_path: Path
) -> None:
    await fill(service, "ours")
    url = place.logins["jobs"]
    assert list(verify(url, ROLLUPS, None, None, lambda *_: None)) == []
    assert rebuild(url, ROLLUPS, None, None, lambda *_: None) > 0
    database = Database(url)
    await database.open()
    now = datetime.now(UTC)
    try:
        archive = Archive(tmp_path / "archive")
        async with housekeeping(database, retention_days=30, archive=archive):
            pass
        assert await RawRetention(database, archive, 3, lambda: now).run() > 0
        assert list(verify(url, ROLLUPS, None, None, lambda *_: None, archive)) == []
        for work in (
            prune_expired(database, now=now),
            prune_audit(database, now=now),
            prune_feed(database),
            prune_sources(database),
            prune_ledgers(database, hours=48),
        ):
            assert await work >= 0
    finally:
        await database.close()


async def test_a_report_needs_the_jobs_login_only(service: Api, place: Place) -> None:
    await fill(service, "ours")
    report = {"type": "performance", "format": "json"}
    asked = await service.request("POST", "/api/v1/reports?wait=0", json=report)
    assert asked.status == 202, asked.text
    database = Database(place.logins["jobs"])
    await database.open()
    try:
        async with report_runs(database, processes=1, now=lambda: service.clock.now):
            made = await service.get(f"/api/v1/reports/{asked.json['report']['id']}?wait=10")
            while made.json["report"]["status"] in ("queued", "running"):
                made = await service.get(f"/api/v1/reports/{asked.json['report']['id']}?wait=10")
    finally:
        await database.close()
    assert (made.json["report"]["status"], made.json["report"]["error"]) == ("succeeded", None)


async def test_schedules_fire_with_the_jobs_login_and_are_paused_with_the_apis(service: Api, place: Place) -> None:
    service.clock.now = utc_now()
    owner = await registered(service)
    member = await joined(owner)
    home = owner.organization
    made = [await person.ask("POST", SCHEDULES, DAILY, within=home) for person in (owner, member)]
    removed = await owner.ask("DELETE", f"/api/v1/organizations/{home}/members/{member.id}")
    assert ([reply.status for reply in made], removed.status) == ([201, 201], 204)
    database = Database(place.logins["jobs"])
    await database.open()
    try:
        await make_due(database, now=service.clock.now + timedelta(days=1))
        assert await prune_dues(database, now=service.clock.now) >= 0
    finally:
        await database.close()
    found = {one["paused"]: one["last"] for one in (await owner.ask("GET", SCHEDULES)).json["schedules"]}
    assert found[True] == []
    assert [due["status"] for due in found[False]] == ["made"]
    assert (await owner.ask("DELETE", f"{SCHEDULES}/{made[0].json['schedule']['id']}")).status == 204


async def test_a_login_reaches_nothing_beyond_its_roles(service: Api, place: Place) -> None:
    await fill(service, "ours")
    await registered(service)
    # By itself a login has no rights at all: they come with the role that a transaction takes on.
    beyond = {
        "api": [
            "store.event_trade",
            "store.rollup_trade_pnl_1d",
            "store.account",
            "store.ledger",
            "store.creator_ranking",
        ],
        "sink": ["store.account", "store.api_key", "store.audit", "app.event_trade", "store.deployment"],
        "jobs": ["store.account", "store.api_key", "store.membership", "app.event_trade", "store.deployment"],
    }
    for kind, relations in beyond.items():
        with psycopg.connect(place.logins[kind], autocommit=True) as connection:
            for relation in relations:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(f"select from {relation}")
            for role in ("streamgauge_api", "streamgauge_identity", "streamgauge_sink", "streamgauge_jobs"):
                if role in LOGINS[kind]:
                    continue
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
            for statement in ("create table public.mine ()", "create table store.mine ()", "create schema mine"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL("set role {}").format(sql.Identifier(user_of(place.owner))))


async def test_the_owner_itself_sees_no_identity_without_an_organization(service: Api, place: Place) -> None:
    owner = await registered(service)
    with psycopg.connect(place.owner, autocommit=True) as connection:
        for table in (
            "membership",
            "api_key",
            "invitation",
            "audit",
            "profile",
            "deployment",
            "browser_session",
            "account",
        ):
            rows: list[object] = []
            # An error; or nothing, from a table in which there is nothing to compare with the organization.
            with suppress(psycopg.errors.InsufficientPrivilege):
                rows = connection.execute(sql.SQL("select from {}").format(sql.Identifier("store", table))).fetchall()
            assert rows == [], table
        with connection.transaction():
            connection.execute("select set_config('app.organization', %s, true)", (owner.organization,))
            for table, count in (("membership", 1), ("account", 1), ("api_key", 0)):
                found = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier("store", table)))
                assert found.fetchone() == (count,), table
            assert connection.execute("select count(*) from store.refresh_family").fetchone() == (0,)


def test_who_does_not_own_the_database_migrates_nothing_and_says_so(place: Place) -> None:
    for url in place.logins.values():
        assert migrate(url, ROLLUPS) == []
    with psycopg.connect(place.superuser, autocommit=True) as connection:
        connection.execute("update public.streamgauge_migration set number = 9999 where number = 16")
        try:
            with pytest.raises(StorageUnavailable, match="owner's DATABASE_URL"):
                migrate(place.logins["api"], ROLLUPS)
        finally:
            connection.execute("update public.streamgauge_migration set number = 16 where number = 9999")


async def test_a_login_without_a_role_is_a_defect_that_is_told(place: Place) -> None:
    database = Database(place.logins["sink"])
    await database.open()
    try:
        with pytest.raises(StorageFault):
            async with database.identity():
                pass
        with pytest.raises(StorageFault):
            await database.rows(UUID(int=1), "select 1")
    finally:
        await database.close()


@pytest.mark.parametrize("name", ["API", "SINK", "JOBS"])
def test_another_login_needs_a_database_of_ones_own(name: str) -> None:
    variable = f"STREAMGAUGE_{name}_DATABASE_URL"
    settings = read({variable: "postgresql://other@db/streamgauge"})
    with pytest.raises(InvalidSetting, match=variable), database_url(settings):
        pass
