"""A scheduler's process that looks for due reports once, for a test that kills it."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys

from jobs.report_schedules import make_due
from storage.database import Database


async def _look(url: str, now: dt.datetime) -> None:
    database = Database(url)
    await database.open()
    print(await make_due(database, now=now), flush=True)
    await database.close()


if __name__ == "__main__":
    asyncio.run(_look(sys.argv[1], dt.datetime.fromisoformat(sys.argv[2])))
