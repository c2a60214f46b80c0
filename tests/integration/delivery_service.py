"""Finished runs of a schedule, and the jobs that hand them over, in the test's own process."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.headerregistry import Address
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg

from front.alert_log import publish_to
from jobs.delivery.alerts import PublishAlerts
from jobs.delivery.deliverer import Channels, report_deliveries
from jobs.delivery.folder import ReportFolder
from jobs.delivery.mail import Mailer, SmtpServer
from jobs.delivery.webhook import WebhookPoster
from storage.report_links import DownloadLinks
from storage.report_work import Artefact, ReportWork
from tests.integration.api_service import NOON, Api

HOOK_SECRET = bytes(range(32))
SENDER = Address("Streamgauge", addr_spec="reports@gauge.example")
PUBLIC = "https://gauge.example"
FILE = b"%PDF-1.7 a report"
SUMMARY = (
    '{"summary":"Net 1,234.56 <b>USD</b>.","metrics":{"trades":3,"net_total":null,'
    '"USD":{"net":12345678901234567.890123456789012345,"win_rate":53.20}},"recommendations":[],'
    '"as_of":"2026-03-10T11:59:00Z","generated_at":"2026-03-10T12:00:30Z"}'
)


def mailer(port: int, **more: Any) -> Mailer:
    """Mails over a server of this machine."""
    return Mailer(SmtpServer("127.0.0.1", port, **more), SENDER)


def scheduled(url: str, organization: UUID, recipients: list[dict[str, str]], *, name: str = "Weekly") -> UUID:
    """A queued run of a schedule of its own; its id."""
    schedule, run = uuid4(), uuid4()
    told = json.dumps(recipients)
    days = '{"first":"2026-03-02","last":"2026-03-08"}'
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into store.report_schedule (organization, id, name, type, format, cron, tz, days, parameters, recipients,"
            " secret, created_by, created_at, updated_at, since)"
            " values (%s, %s, %s, 'pnl', 'pdf', '0 8 * * 1', 'UTC', 'last_week', '{}', %s, %s, 'account:1', %s, %s, %s)",
            (organization, schedule, name, told, HOOK_SECRET, NOON, NOON, NOON),
        )
        connection.execute(
            "insert into store.report_run (organization, id, type, parameters, format, requested_by, digest, created_at, schedule,"
            " period, recipients) values (%s, %s, 'pnl', %s, 'pdf', 'account:1', sha256(%s), %s, %s, '2026-03-09 08:00', %s)",
            (organization, run, days, run.bytes, NOON, schedule, told),
        )
    return run


async def finished(
    api: Api, url: str, *recipients: dict[str, str], name: str = "Weekly", file: bytes = FILE, error: str | None = None
) -> UUID:
    """A run that succeeded, or failed with an error; its id."""
    id_ = scheduled(url, api.organization, list(recipients), name=name)
    work = ReportWork(api.services.database, lease_s=30)
    run = await work.claim(api.clock.now)
    assert run is not None
    assert str(run.id) == str(id_)
    if error is None:
        made = Artefact(SUMMARY, file, "application/pdf", "pnl-2026-03-02-2026-03-08.pdf")
        assert await work.finish(run, made, api.clock.now)
    else:
        assert await work.fail(run, error, 503, api.clock.now)
    return id_


@asynccontextmanager
async def delivered_by(
    api: Api,
    *,
    mail: Mailer | None = None,
    folder: Path | None = None,
    webhook: Any = None,
    store: Any = None,
    publish: PublishAlerts | None = None,
    lease_s: float = 30,
) -> AsyncIterator[list[tuple[str, str]]]:
    """The jobs that hand reports over; what they count."""
    counts: list[tuple[str, str]] = []
    async with report_deliveries(
        api.services.database,
        Channels(
            webhook=webhook or WebhookPoster(private=True, answer_s=5),
            mail=mail,
            store=store or (None if folder is None else ReportFolder(folder)),
        ),
        links=DownloadLinks(PUBLIC, api.services.download_key),
        publish=publish or publish_to(api.services.log),
        counted=lambda kind, outcome: counts.append((kind, outcome)),
        now=lambda: api.clock.now,
        random=Random(1),
        lease_s=lease_s,
        look_s=0.05,
    ):
        yield counts


def later(api: Api, **by: float) -> None:
    """Moves the clock on."""
    api.clock.now += dt.timedelta(**by)
