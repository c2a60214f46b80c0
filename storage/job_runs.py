"""When the scheduler's jobs last ran: stamped by whatever process runs them, read by those that show how the service is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg.rows import class_row

from storage.database import AsyncConn, Database
from storage.named import load

_QUERIES = load("jobs")


@dataclass(frozen=True)
class JobRun:
    """One job: how often it is due, when it last came to its end and how long ago that is; when it last failed, and with what.

    `problem` is None again once it has come to its end. Durations are in seconds.
    """

    job: str
    every_s: float
    ran_at: dt.datetime | None
    age_s: float | None
    failed_at: dt.datetime | None
    problem: str | None


async def expect_jobs(database: Database, every_s: Mapping[str, float]) -> None:
    """Makes these jobs known, so that one that never runs is seen, and forgets all others. What ran before stays stamped."""
    async with database.jobs() as connection:
        await connection.execute(_QUERIES["forget"], {"jobs": list(every_s)})
        for job, seconds in every_s.items():
            await connection.execute(_QUERIES["expect"], {"job": job, "every": seconds})


async def stamp_job(database: Database, job: str, every_s: float, *, problem: str | None = None) -> None:
    """The job came to its end now, or failed with a problem."""
    async with database.jobs() as connection:
        values = {"job": job, "every": every_s, "problem": problem}
        await connection.execute(_QUERIES["failed" if problem else "ran"], values)


async def job_runs(connection: AsyncConn) -> list[JobRun]:
    """Every job that a scheduler has made known, in the service's own transaction."""
    async with connection.cursor(row_factory=class_row(JobRun)) as cursor:
        await cursor.execute(_QUERIES["list"])
        return await cursor.fetchall()
