"""A service whose reports are made in the test's own process: renderers, questions and answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jobs.report_runs import making_reports
from jobs.reports.render import Format, render
from jobs.reports.report import Report
from tests.integration.api_service import Api, Reply

ENTERPRISE, REPORTS = "/api/v1/enterprise/reports", "/api/v1/reports"
DAYS = "2026-03-01,2026-03-10"


class Here:
    """Renders in the test's own process."""

    async def render(self, report: Report, form: Format) -> bytes:
        return render(report, form)


class Slow:
    """Renders once it is let."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.let = asyncio.Event()

    async def render(self, report: Report, form: Format) -> bytes:
        self.began.set()
        await self.let.wait()
        return render(report, form)


@asynccontextmanager
async def made_by(api: Api, renderer: Any, *, lease_s: float = 30, look_s: float = 0.1) -> AsyncIterator[None]:
    """The jobs of the service."""
    async with making_reports(
        api.services.database, renderer, at_once=2, now=lambda: api.clock.now, lease_s=lease_s, look_s=look_s
    ):
        yield


async def ask(api: Api, kind: str = "performance", **more: Any) -> Reply:
    given = {"organization_id": api.organization, "report_type": kind, "date_range": DAYS, **more}
    return await api.get(ENTERPRISE, **given)


def report_of(reply: Reply, status: int = 200) -> dict[str, Any]:
    assert reply.status == status, reply.text
    found: dict[str, Any] = reply.json["report"]
    return found


async def fetched(api: Api, url: str) -> Reply:
    """What an address gives to somebody without a credential."""
    async with api.session.get(url) as answer:
        return Reply(answer.status, answer.headers, await answer.read())


async def ended(api: Api, id_: str) -> dict[str, Any]:
    """A report once it is over."""
    found = report_of(await api.get(f"{REPORTS}/{id_}", wait=10))
    assert found["status"] not in ("queued", "running")
    return found
