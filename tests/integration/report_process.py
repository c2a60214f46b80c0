"""A job process that claims a report and never comes to its end, for a test that kills it."""

from __future__ import annotations

import asyncio
import sys

from jobs.report_runs import making_reports
from jobs.reports.render import Format
from jobs.reports.report import Report
from storage.database import Database
from tests.integration.api_service import utc_now


class Endless:
    """A renderer that tells when it was given a report, and gives nothing back."""

    async def render(self, report: Report, form: Format) -> bytes:
        print("rendering", flush=True)
        await asyncio.Event().wait()
        raise AssertionError


async def _work(url: str) -> None:
    database = Database(url)
    await database.open()
    async with making_reports(database, Endless(), at_once=1, now=utc_now, lease_s=1):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
