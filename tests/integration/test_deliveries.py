"""Reports that are handed over: by mail, to webhooks, into a folder; once, or again with the same key."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest

from storage.report_deliveries import DeliveryWork
from storage.report_work import ReportWork
from tests.integration.api_service import Api, running, until
from tests.integration.delivery_process import STEPS
from tests.integration.delivery_service import (
    FILE,
    HOOK_SECRET,
    PUBLIC,
    delivered_by,
    finished,
    later,
    mailer,
    scheduled,
)
from tests.integration.receivers import Posted, hook_receiver, mail_server
from tests.integration.report_service import fetched
from tests.service_process import ROOT

MAIL = {"kind": "mail", "address": "ann@example.org"}
STORE = {"kind": "store"}


def hook(url: str) -> dict[str, str]:
    return {"kind": "webhook", "url": url}


def rows(url: str, *columns: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            f"select {', '.join(columns)} from store.report_delivery order by created_at, run, place"
        ).fetchall()
    return [row[0] if len(columns) == 1 else row for row in found]


async def settled(url: str, *, seconds: float = 20) -> list[str]:
    """The states of all deliveries once none waits."""
    async with asyncio.timeout(seconds):
        while "waiting" in (found := await asyncio.to_thread(rows, url, "status")):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


def stored(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def signed_right(posted: Posted) -> bool:
    signed = f"{posted.headers['webhook-id']}.{posted.headers['webhook-timestamp']}.".encode() + posted.body
    digest = base64.b64encode(hmac.new(HOOK_SECRET, signed, hashlib.sha256).digest()).decode()
    return posted.headers["webhook-signature"] == f"v1,{digest}"


async def test_each_recipient_gets_it_once(database_url: str, tmp_path: Path) -> None:
    async with running(database_url) as api, mail_server() as inbox, hook_receiver() as hooks:
        async with delivered_by(api, mail=mailer(inbox.port), folder=tmp_path) as counts:
            run = await finished(api, database_url, MAIL, hook(hooks.url), STORE)
            assert await settled(database_url) == ["delivered"] * 3
        assert sorted(counts) == [("mail", "delivered"), ("store", "delivered"), ("webhook", "delivered")]

        [posted] = hooks.posted
        assert signed_right(posted)
        assert (posted.headers["webhook-id"], posted.headers["content-type"]) == (f"{run}-1", "application/json")
        told = json.loads(posted.body)
        assert (told["type"], told["id"], told["report"]["id"]) == ("report.succeeded", f"{run}-1", str(run))
        assert told["report"]["period"] == {"from": "2026-03-02", "to": "2026-03-08", "tz": None}
        assert (told["report"]["schedule"], told["report"]["due"]) == ("Weekly", "2026-03-09T08:00:00")
        assert (told["report"]["size"], told["report"]["organization_id"]) == (len(FILE), str(api.organization))
        assert "data" not in told["report"]
        link = urlsplit(told["report"]["download_url"])
        assert f"{link.scheme}://{link.netloc}" == PUBLIC
        later(api, days=6)
        assert (await fetched(api, f"{api.url}{link.path}?{link.query}")).body == FILE

        [mail] = inbox.mails
        assert mail["Message-ID"] == f"<{run}-0@gauge.example>"
        assert (mail["To"], mail["Auto-Submitted"]) == ("ann@example.org", "auto-generated")
        assert inbox.envelopes == [("reports@gauge.example", ["ann@example.org"])]
        assert [one.get_content() for one in mail.iter_attachments()] == [FILE]

        [(name, data)] = stored(tmp_path).items()
        with psycopg.connect(database_url) as connection:
            [(schedule,)] = connection.execute("select id from store.report_schedule").fetchall()
        assert name == f"{api.organization}/{schedule}/2026-03-09T08-00/{run}-pnl-2026-03-02-2026-03-08.pdf"
        assert data == FILE


async def test_a_report_that_failed_is_told_and_never_an_empty_file(database_url: str, tmp_path: Path) -> None:
    async with running(database_url) as api, mail_server() as inbox, hook_receiver() as hooks:
        async with delivered_by(api, mail=mailer(inbox.port), folder=tmp_path):
            await finished(api, database_url, MAIL, hook(hooks.url), STORE, error="the database <could> not be read")
            assert await settled(database_url) == ["delivered"] * 2
        told = json.loads(hooks.posted[0].body)
        assert (told["type"], told["report"]["error"]) == ("report.failed", "the database <could> not be read")
        assert (told["report"]["download_url"], told["report"]["size"]) == (None, None)
        [mail] = inbox.mails
        assert mail["Subject"] == "Not made: Weekly, 2026-03-02 to 2026-03-08"
        assert list(mail.iter_attachments()) == []
        text, page = (mail.get_body((kind,)) for kind in ("plain", "html"))
        assert text is not None
        assert page is not None
        assert "could not be made: the database <could> not be read" in text.get_content()
        assert "the database &lt;could&gt; not be read" in page.get_content()
        assert stored(tmp_path) == {}
        # Its organization hears of it too.
        await until_alerts(api, "reports_failed", [[1, 1]])


async def until_alerts(api: Api, metric: str, expected: list[list[int]], *, seconds: float = 10) -> None:
    """Waits until the rollup has that many alerts: their sum and their count."""
    async with asyncio.timeout(seconds):
        while True:
            reply = await api.query("enterprise_metrics", measures="sum,count", filter=f"metric:{metric}")
            if reply.rows == expected:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("step", STEPS)
async def test_a_process_that_is_killed_leaves_one_delivery(database_url: str, tmp_path: Path, step: str) -> None:
    """At most a repeat with the same key, and that only where the yes was not committed."""
    async with running(database_url) as api, mail_server() as inbox, hook_receiver() as hooks:
        run = await finished(api, database_url, MAIL, hook(hooks.url), STORE)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.integration.delivery_process", database_url, step, str(inbox.port), str(tmp_path)),
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            for _ in range(3):
                assert await asyncio.wait_for(process.stdout.readline(), 30) == f"{step}\n".encode()
        finally:
            process.kill()
            await process.wait()
        assert rows(database_url, "status") == ["delivered" if step == "committed" else "waiting"] * 3
        async with delivered_by(api, mail=mailer(inbox.port), folder=tmp_path):
            assert await settled(database_url) == ["delivered"] * 3
        times = 2 if step == "yes" else 1
        assert [posted.headers["webhook-id"] for posted in hooks.posted] == [f"{run}-1"] * times
        assert [mail["Message-ID"] for mail in inbox.mails] == [f"<{run}-0@gauge.example>"] * times
        assert list(stored(tmp_path).values()) == [FILE]
        assert rows(database_url, "attempts") == [1 if step == "committed" else 2] * 3


async def test_many_deliverers_make_one_delivery(database_url: str) -> None:
    async with running(database_url) as api, hook_receiver() as hooks:
        async with delivered_by(api) as first, delivered_by(api) as second:
            runs = [await finished(api, database_url, hook(hooks.url), hook(hooks.url)) for _ in range(10)]
            assert await settled(database_url) == ["delivered"] * 20
        assert len(first) + len(second) == 20
        told = sorted(posted.headers["webhook-id"] for posted in hooks.posted)
        assert told == sorted(f"{run}-{place}" for run in runs for place in (0, 1))


async def test_an_organization_with_few_does_not_wait_for_one_with_many(database_url: str) -> None:
    async with running(database_url) as api:
        await finished(api, database_url, STORE, STORE, STORE)
        later(api, minutes=5)
        other = uuid4()
        with psycopg.connect(database_url) as connection:
            connection.execute("insert into store.organization (id, name) values (%s, 'Other')", (other,))
        scheduled(database_url, other, [MAIL])
        makers = ReportWork(api.services.database, lease_s=30)
        work = DeliveryWork(api.services.database, lease_s=30)
        run = await makers.claim(api.clock.now)
        assert run is not None
        assert await makers.fail(run, "no data", 503, api.clock.now)
        claimed = [(await work.claim(api.clock.now))[0] for _ in range(5)]
        assert [one and one.organization for one in claimed] == [
            api.organization,
            other,
            api.organization,
            api.organization,
            None,
        ]


async def test_who_lost_a_delivery_cannot_end_it(database_url: str) -> None:
    async with running(database_url) as api:
        await finished(api, database_url, STORE)
        late, holder = (DeliveryWork(api.services.database, lease_s=lease) for lease in (0, 30))
        now = api.clock.now
        (lost, _), (held, _) = await late.claim(now), await holder.claim(now)
        assert lost is not None
        assert held is not None
        assert (lost.key, lost.attempts, held.key, held.attempts) == (held.key, 1, held.key, 2)
        assert await holder.claim(now) == (None, [])
        for work in (late, holder):
            assert not await work.renew(lost)
            assert not await work.delivered(lost, now)
            assert not await work.postpone(lost, "no", now)
            assert not await work.give_up(lost, "no", now)
        assert await holder.renew(held)
        assert await holder.delivered(held, now)
        assert not await holder.delivered(held, now)


async def test_one_that_ends_whoever_makes_it_is_given_up(database_url: str) -> None:
    async with running(database_url) as api:
        await finished(api, database_url, STORE)
        late = DeliveryWork(api.services.database, lease_s=0)
        for attempt in range(1, 9):
            claimed, _ = await late.claim(api.clock.now)
            assert claimed is not None
            assert claimed.attempts == attempt
        # Stopped at the last attempt, which may have arrived: it counts.
        await late.release(claimed)
        assert await late.claim(api.clock.now) == (None, ["store"])
        assert rows(database_url, "status", "error") == [
            ("dead", "the process that handed it over ended each time it was tried")
        ]


async def test_a_deleted_schedule_and_a_deleted_run_are_not_handed_over(database_url: str) -> None:
    async with running(database_url) as api, hook_receiver() as hooks:
        await finished(api, database_url, hook(hooks.url))
        gone: UUID = await finished(api, database_url, hook(hooks.url))
        with psycopg.connect(database_url) as connection:
            connection.execute("delete from store.report_run where id = %s", (gone,))
            connection.execute("delete from store.report_schedule")
        async with delivered_by(api):
            await until(lambda: rows(database_url, "status") != ["waiting"])
        assert rows(database_url, "status", "error") == [("cancelled", "its schedule was deleted")]
        assert hooks.posted == []
