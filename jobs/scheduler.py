"""The scheduler: housekeeping that nobody asks for, at its times."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from jobs.report_schedules import LOOK_S, DueReports
from jobs.retention import RawRetention
from jobs.standings import keep_standings
from storage.archive import Archive
from storage.audit import prune_audit
from storage.database import Database, QueryTooSlow, StorageUnavailable
from storage.dead_letters import DeadLetters
from storage.exports import prune_exports
from storage.job_runs import expect_jobs, stamp_job
from storage.report_dues import prune_dues
from storage.report_work import prune_report_runs
from storage.retention import prune_feed, prune_ledgers, prune_sources
from storage.sessions import prune_expired

log = structlog.get_logger(__name__)

Job = Callable[[], Awaitable[int]]
"""Does its work and returns how many rows it removed or made."""

ALIVE_S = 10
"""How often a scheduler says that it lives: `/health/detailed` calls it down when it was silent for three times as long."""


@asynccontextmanager
async def housekeeping(
    database: Database,
    *,
    retention_days: int | None = None,
    archive: Archive | None = None,
    ledger_hours: int = 48,
) -> AsyncIterator[None]:
    """Runs the jobs while the block does. Each may run in several processes at once: they delete what is over, or take a lock.

    Reports that are due by schedule are among them; they are looked for at their times and when a schedule was changed, besides.

    `retention_days`: the age at which raw events are written to the `archive` and then dropped; None keeps them for ever.
    `ledger_hours`: how long an event's id is known.
    """
    scheduler = AsyncIOScheduler(timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1})

    async def look() -> None:
        await _run(database, "due_reports", LOOK_S, due_reports.run)

    due_reports = DueReports(database, scheduler, look, now=lambda: datetime.now(UTC))
    jobs: list[tuple[str, int, Job]] = [
        ("alive", ALIVE_S, _nothing),
        ("due_reports", LOOK_S, due_reports.run),
        ("expired_sessions", 3_600, lambda: prune_expired(database, now=datetime.now(UTC))),
        ("old_audit", 86_400, lambda: prune_audit(database, now=datetime.now(UTC))),
        ("old_feed", 600, lambda: prune_feed(database)),
        ("silent_sources", 86_400, lambda: prune_sources(database)),
        ("retired_ledgers", 3_600, lambda: prune_ledgers(database, hours=ledger_hours)),
        ("old_reports", 3_600, lambda: prune_report_runs(database, now=datetime.now(UTC))),
        ("old_exports", 600, lambda: prune_exports(database, now=datetime.now(UTC))),
        ("old_due_times", 86_400, lambda: prune_dues(database, now=datetime.now(UTC))),
        ("old_dead_letters", 86_400, lambda: DeadLetters(database).prune(days=90)),
    ]
    stopping = threading.Event()
    if retention_days is not None and archive is not None:
        retention = RawRetention(database, archive, retention_days, lambda: datetime.now(UTC), stop=stopping.is_set)
        jobs.append(("raw_events", 3_600, retention.run))
    await _stamped(expect_jobs(database, {name: seconds for name, seconds, _ in jobs}))
    for name, seconds, job in jobs:
        scheduler.add_job(_run, IntervalTrigger(seconds=seconds), args=(database, name, seconds, job), id=name)
    scheduler.modify_job("alive", next_run_time=datetime.now(UTC))
    scheduler.start()
    standings = asyncio.create_task(keep_standings(database), name="standings")
    try:
        async with due_reports.listening():
            yield
    finally:
        # The day that is being archived is begun anew by the next run.
        stopping.set()
        scheduler.shutdown(wait=False)
        standings.cancel()
        await asyncio.gather(standings, return_exceptions=True)


async def _nothing() -> int:
    """That it is stamped is all there is to do."""
    return 0


async def _run(database: Database, name: str, seconds: int, job: Job) -> None:
    """Runs one job and stamps it; a database that is away is no reason to stop for good."""
    try:
        gone = await job()
    except StorageUnavailable as error:
        log.warning("job_postponed", job=name, reason=str(error))
        await _stamped(stamp_job(database, name, seconds, problem=str(error)))
        return
    except Exception as error:
        await _stamped(stamp_job(database, name, seconds, problem=type(error).__name__))
        raise
    await _stamped(stamp_job(database, name, seconds))
    if gone:
        log.info("job_done", job=name, rows=gone)


async def _stamped(stamp: Awaitable[None]) -> None:
    """Stamps, where the database is there; the job has run all the same."""
    try:
        await stamp
    except (StorageUnavailable, QueryTooSlow) as error:
        log.info("job_not_stamped", reason=str(error))
