"""`/health/detailed`: cache, scheduler and disk beside the database and the log; which of them make it 503."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from api.cache.answers import CacheHealth
from api.disk import Disk
from api.services import Services
from jobs.scheduler import _run, housekeeping
from storage.database import StorageUnavailable
from tests.integration.api_service import Api, Reply
from tests.integration.stored import scalar

GIB = 1024**3


async def detailed(api: Api) -> Reply:
    reply = await api.get("/health/detailed")
    parts = {"status", "database", "log", "workers", "dead_letters", "cache", "scheduler", "disk", "archive"}
    assert set(reply.json) == parts
    return reply


def given(services: Services, **changes: Any) -> None:
    for name, value in changes.items():
        object.__setattr__(services, name, value)


def told(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


async def test_a_scheduler_is_alive_while_it_stamps(api: Api, service_database: str) -> None:
    told(service_database, "delete from store.job_run")
    reply = await detailed(api)
    assert (reply.status, reply.json["status"]) == (200, "ok")
    assert reply.json["scheduler"] == {"status": "down", "alive_at": None, "age_seconds": None, "jobs": []}
    async with housekeeping(api.services.database, retention_days=None):
        while (await detailed(api)).json["scheduler"]["status"] != "ok":
            pass
        scheduler = (await detailed(api)).json["scheduler"]
        jobs = {job["job"]: job for job in scheduler["jobs"]}
        assert {"expired_sessions", "old_feed", "silent_sources"} <= jobs.keys()
        assert "alive" not in jobs
        assert "raw_events" not in jobs
        assert (jobs["old_feed"]["every_seconds"], jobs["old_feed"]["ran_at"], jobs["old_feed"]["late"]) == (
            600,
            None,
            False,
        )
        assert 0 <= scheduler["age_seconds"] < 30
    told(service_database, "update store.job_run set ran_at = now() - interval '31 seconds' where job = 'alive'")
    reply = await detailed(api)
    assert (reply.status, reply.json["scheduler"]["status"]) == (200, "down")
    assert reply.json["scheduler"]["age_seconds"] >= 31


async def test_a_job_that_fails_or_is_late_is_seen(api: Api, service_database: str) -> None:
    told(service_database, "delete from store.job_run")
    database = api.services.database

    async def work() -> int:
        return 3

    async def fail() -> int:
        raise StorageUnavailable("no room")

    async def break_() -> int:
        raise ValueError("a secret")

    await _run(database, "alive", 10, work)
    await _run(database, "pruning", 600, work)
    with pytest.raises(ValueError, match="a secret"):
        await _run(database, "pruning", 600, break_)
    await _run(database, "reports", 60, fail)
    jobs = {job["job"]: job for job in (await detailed(api)).json["scheduler"]["jobs"]}
    assert (jobs["pruning"]["problem"], jobs["pruning"]["late"], jobs["reports"]["problem"]) == (
        "ValueError",
        False,
        "no room",
    )
    assert jobs["pruning"]["ran_at"]
    assert jobs["pruning"]["failed_at"]
    assert jobs["reports"]["ran_at"] is None
    told(service_database, "update store.job_run set ran_at = now() - interval '1801 seconds' where job = 'pruning'")
    await _run(database, "reports", 60, work)
    jobs = {job["job"]: job for job in (await detailed(api)).json["scheduler"]["jobs"]}
    assert (jobs["pruning"]["late"], jobs["reports"]["problem"]) == (True, None)
    assert scalar(service_database, "select count(*) from store.job_run") == 3


@pytest.mark.parametrize(
    ("total", "free", "needed", "status", "code"),
    [
        (100 * GIB, 50 * GIB, True, "ok", 200),
        (100 * GIB, 5 * GIB, True, "ok", 200),
        (100 * GIB, 5 * GIB - 1, True, "low", 200),
        (10 * GIB, GIB, True, "ok", 200),
        (10 * GIB, GIB // 2 - 1, True, "low", 200),
        (100 * GIB, 64 * 1024**2 - 1, True, "full", 503),
        (100 * GIB, 0, False, "full", 200),
    ],
)
async def test_only_a_full_disk_with_events_on_it_is_an_outage(
    api: Api, total: int, free: int, needed: bool, status: str, code: int
) -> None:
    given(api.services, disk=Disk(Path("data"), needed, lambda _: (total, total - free, free)))
    reply = await detailed(api)
    assert (reply.status, reply.json["status"]) == (code, "ok" if code == 200 else "down")
    disk = reply.json["disk"]
    assert (disk["status"], disk["needed"], disk["free_bytes"], disk["total_bytes"]) == (status, needed, free, total)
    assert float(disk["free_share"]) == round(100 * free / total, 2)


async def test_real_disks_and_caches_are_shown_as_they_are(api: Api, tmp_path: Path) -> None:
    reply = await detailed(api)
    assert (reply.json["cache"], reply.json["disk"]) == (None, None)
    disk = Disk(tmp_path, needed=True)
    given(api.services, disk=disk, cache_health=lambda: CacheHealth("ok", "down"), cache_hit_rate=lambda: 87.5)
    reply = await detailed(api)
    assert reply.json["cache"] == {"status": "ok", "redis": "down"}
    assert 0 < reply.json["disk"]["free_bytes"] <= reply.json["disk"]["total_bytes"]
    assert (await api.get("/api/v1/metrics")).json["cache_hit_rate"] == 87.5
    given(api.services, disk=replace(disk, folder=tmp_path / "gone"))
    reply = await detailed(api)
    assert (reply.status, reply.json["disk"]["status"]) == (200, "unknown")


async def test_without_its_database_it_is_down_and_says_what_it_can(api: Api) -> None:
    await api.services.database.close()
    # Whose credential it is nobody could say now.
    del api.headers["Authorization"]
    reply = await detailed(api)
    assert (reply.status, reply.headers["Retry-After"]) == (503, "2")
    assert (reply.json["database"]["status"], reply.json["scheduler"]["status"]) == ("down", "unknown")
    assert (await api.get("/health")).json == {"status": "down", "database": "unreachable"}
