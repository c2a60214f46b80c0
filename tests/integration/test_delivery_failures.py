"""Receivers that refuse, are slow or away: what is tried again, what is given up, who hears of it, and having it tried once more."""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
from collections import Counter
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from aiohttp import web

from front.alert_log import publish_to
from ingest.events import Event
from ingest.log import Unavailable
from jobs.delivery import folder as folder_module
from jobs.delivery.webhook import WebhookPoster
from tests.integration.api_service import another, free_port, running, until, utc_now
from tests.integration.delivery_service import delivered_by, finished, later, mailer
from tests.integration.people import joined, registered
from tests.integration.receivers import hook_receiver, mail_server, status
from tests.integration.test_deliveries import MAIL, STORE, hook, rows, settled, stored, until_alerts


async def tried(url: str, attempts: int) -> tuple[str, str, dt.datetime]:
    """Status, error and next attempt of the only delivery, once it was tried so often and is nobody's."""
    async with asyncio.timeout(20):
        while True:
            found = await asyncio.to_thread(rows, url, "attempts", "claimed_by", "status", "error", "next_at")
            [(count, claimed, state, error, next_at)] = found
            if count == attempts and claimed is None:
                return state, error, next_at
            await asyncio.sleep(0.02)


async def test_it_is_tried_later_and_later_and_then_given_up_with_an_alert(database_url: str) -> None:
    async with running(database_url) as api, hook_receiver() as hooks:
        hooks.answers = [status(500), status(503, Retry_After="600"), *(status(404) for _ in range(6))]
        waits = []
        async with delivered_by(api) as counts:
            await finished(api, database_url, hook(hooks.url))
            for attempt in range(1, 8):
                state, error, next_at = await tried(database_url, attempt)
                assert (state, error.startswith("answered with")) == ("waiting", True)
                waits.append((next_at - api.clock.now).total_seconds() / 60)
                api.clock.now = next_at
            assert await settled(database_url) == ["dead"]
            assert counts == [("webhook", "postponed")] * 7 + [("webhook", "dead")]
            # The second wait is the one that the receiver asked for.
            for waited, least in zip(waits, (1, 10, 15, 60, 240, 240, 240), strict=True):
                assert least <= waited <= least * 1.2
            assert len({posted.headers["webhook-id"] for posted in hooks.posted}) == 1
            assert len(hooks.posted) == 8
            await until_alerts(api, "report_deliveries_dead", [[1, 1]])
        with psycopg.connect(database_url) as connection:
            assert connection.execute("select count(*) from store.report_alert").fetchall() == [(0,)]


async def test_what_is_refused_for_good_is_dead_at_once(database_url: str, tmp_path: Path) -> None:
    async with running(database_url) as api, mail_server() as inbox, hook_receiver() as hooks:
        inbox.refused = {"gone@example.org": "550 no such mailbox"}
        hooks.answers = [status(410)]
        async with delivered_by(api, mail=mailer(inbox.port), webhook=WebhookPoster(private=True)):
            recipients = [
                {"kind": "mail", "address": "gone@example.org"},
                {"kind": "mail", "address": "no address"},
                {"kind": "mail", "address": "ann@example.org\r\nBcc: all@example.org"},
                hook(hooks.url),
                STORE,
                MAIL,
            ]
            await finished(api, database_url, *recipients)
            assert await settled(database_url) == ["dead"] * 5 + ["delivered"]
            await until_alerts(api, "report_deliveries_dead", [[5, 5]])
        errors = rows(database_url, "error")
        assert errors[0] == "the mail server says 550 no such mailbox"
        assert errors[1] == "'no address' is no mail address"
        assert "no mail address" in errors[2]
        assert errors[3] == "answered with 410: it is gone"
        assert "STREAMGAUGE_REPORT_STORE" in errors[4]
        assert rows(database_url, "attempts") == [1] * 6
        assert len(inbox.mails) == 1


async def test_without_a_mail_server_mails_are_dead_with_a_reason(database_url: str) -> None:
    async with running(database_url) as api, delivered_by(api):
        await finished(api, database_url, MAIL)
        assert await settled(database_url) == ["dead"]
        assert "STREAMGAUGE_SMTP_URL" in rows(database_url, "error")[0]


async def test_a_mail_server_that_is_away_or_busy_is_asked_again(database_url: str) -> None:
    async with running(database_url) as api:
        port = free_port()
        async with delivered_by(api, mail=mailer(port)):
            await finished(api, database_url, MAIL)
            state, error, _ = await tried(database_url, 1)
            assert (state, "the mail server cannot be used" in error) == ("waiting", True)
        async with mail_server() as inbox:
            inbox.answers = ["451 later"]
            async with delivered_by(api, mail=mailer(inbox.port)):
                later(api, minutes=2)
                assert (await tried(database_url, 2))[:2] == ("waiting", "the mail server says 451 later")
                later(api, minutes=7)
                assert await settled(database_url) == ["delivered"]
            assert len(inbox.mails) == 1


async def test_a_password_is_told_to_who_takes_it_and_never_without_tls_unless_that_is_said(database_url: str) -> None:
    async with running(database_url) as api, mail_server() as inbox:
        login = {"username": "me", "password": "secret"}
        async with delivered_by(api, mail=mailer(inbox.port, starttls=True, **login)):
            await finished(api, database_url, MAIL)
            state, error, _ = await tried(database_url, 1)
            assert (state, "the mail server" in error) == ("waiting", True)
            assert inbox.logins == []
        later(api, minutes=2)
        async with delivered_by(api, mail=mailer(inbox.port, starttls=False, **login)):
            assert await settled(database_url) == ["delivered"]
        assert inbox.logins == [(b"me", b"secret")]


async def test_slow_and_redirecting_receivers_are_tried_again_and_not_followed(database_url: str) -> None:
    async with running(database_url) as api, hook_receiver() as hooks:
        never = asyncio.Event()

        async def slow(_: web.Request) -> web.StreamResponse:
            await never.wait()
            return web.Response()

        async def endless(request: web.Request) -> web.StreamResponse:
            answer = web.StreamResponse()
            await answer.prepare(request)
            await answer.write(b"thanks")
            await never.wait()
            return answer

        hooks.answers = [slow, status(307, Location=hooks.url + "/elsewhere"), endless]
        async with delivered_by(api, webhook=WebhookPoster(private=True, answer_s=0.3)):
            await finished(api, database_url, hook(hooks.url))
            assert (await tried(database_url, 1))[:2] == ("waiting", "no answer within 0.3 s")
            later(api, minutes=2)
            assert (await tried(database_url, 2))[:2] == (
                "waiting",
                "answered with 307: redirects are not followed",
            )
            later(api, minutes=7)
            # A yes is a yes, however long the rest of the answer is.
            assert await settled(database_url) == ["delivered"]
        never.set()
        assert [posted.path for posted in hooks.posted] == ["/hook"] * 3


@pytest.mark.parametrize(
    "address",
    [
        "https://127.0.0.1:{}/",
        "https://localhost:{}/",
        "https://[::1]:{}/",
        "https://169.254.169.254/",
        "http://127.0.0.1:{}/",
    ],
)
async def test_the_services_own_network_is_no_receiver(database_url: str, address: str) -> None:
    async with running(database_url) as api, hook_receiver() as hooks:
        async with delivered_by(api, webhook=WebhookPoster()):
            await finished(api, database_url, hook(address.format(hooks.url.split(":")[2].partition("/")[0])))
            assert await settled(database_url) == ["dead"]
        [error] = rows(database_url, "error")
        assert "not an address of the internet" in error or "https://" in error
        assert "127.0.0.1" not in error
        assert hooks.posted == []


async def test_a_full_or_closed_folder_is_written_later(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database_url) as api:
        (tmp_path / "reports").write_text("a file where the folder should be")
        async with delivered_by(api, folder=tmp_path / "reports"):
            await finished(api, database_url, STORE)
            state, error, _ = await tried(database_url, 1)
            assert (state, error.startswith("the folder cannot be written: ")) == ("waiting", True)
            (tmp_path / "reports").unlink()

            def full(descriptor: int) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            with monkeypatch.context() as patch:
                patch.setattr(folder_module.os, "fsync", full)
                later(api, minutes=2)
                assert (await tried(database_url, 2))[:2] == (
                    "waiting",
                    "the folder cannot be written: No space left on device",
                )
                assert stored(tmp_path) == {}
            later(api, minutes=7)
            assert await settled(database_url) == ["delivered"]
        assert len(stored(tmp_path)) == 1


async def test_an_alert_that_is_told_twice_counts_once(database_url: str) -> None:
    async with running(database_url) as api:
        told = []

        async def publish(organization: UUID, events: list[Event]) -> None:
            await publish_to(api.services.log)(organization, events)
            told.append([event.id for event in events])
            if len(told) == 1:
                # Accepted, and the process dies before it notes that.
                raise Unavailable("gone")

        async with delivered_by(api, publish=publish):
            run = await finished(api, database_url, STORE)
            await until(lambda: len(told) == 1)
            # Another one has them told again.
            await finished(api, database_url, STORE)
            await until_alerts(api, "report_deliveries_dead", [[2, 2]])
        assert told[0] == [f"delivery-{run}-0-1"]
        assert sum(told[0][0] in ids for ids in told) == 2


async def test_a_dead_one_is_seen_and_tried_again_with_its_key(database_url: str) -> None:
    async with running(database_url) as api, hook_receiver() as hooks, another(api, "Other") as other:
        hooks.answers = [status(410), status(200), status(410)]
        async with delivered_by(api):
            run = await finished(api, database_url, hook(hooks.url), hook(hooks.url + "/2"))
            assert await settled(database_url) in (["dead", "delivered"], ["delivered", "dead"])
            path = f"/api/v1/reports/{run}/deliveries"
            shown = (await api.get(path)).json["deliveries"]
            dead = next(one for one in shown if one["status"] == "dead")
            done = next(one for one in shown if one["status"] == "delivered")
            assert dead["recipient"]["kind"] == "webhook"
            assert (dead["attempts"], dead["error"], dead["next_at"]) == (1, "answered with 410: it is gone", None)
            assert (done["error"], done["next_at"], done["delivered_at"] is not None) == (None, None, True)

            # Nobody else's: another organization, another report.
            for who, where in ((other, path), (api, f"/api/v1/reports/{uuid4()}/deliveries")):
                assert (await who.get(where)).status == 404
                assert (await who.request("POST", f"{where}/{dead['id']}/retry")).status == 404
            assert (await api.request("POST", f"{path}/{uuid4()}/retry")).status == 404
            assert (await api.request("POST", f"{path}/{done['id']}/retry")).status == 409

            # Given up once more it is told once more.
            for state in ("dead", "delivered"):
                reply = await api.request("POST", f"{path}/{dead['id']}/retry")
                assert reply.status == 200, reply.text
                assert sorted(await settled(database_url)) == sorted([state, "delivered"])
                await until_alerts(api, "report_deliveries_dead", [[2, 2]])
        ids = Counter(posted.headers["webhook-id"] for posted in hooks.posted)
        again = shown.index(dead)
        assert ids == {f"{run}-{again}": 3, f"{run}-{1 - again}": 1}
        assert (await api.request("POST", f"{path}/{dead['id']}/retry")).status == 409


async def test_a_member_sees_the_deliveries_of_their_own_reports_only(database_url: str) -> None:
    async with running(database_url) as api:
        api.clock.now = utc_now()
        owner = await registered(api)
        member = await joined(owner)
        run = await finished(replace(api, organization=UUID(owner.organization)), database_url, STORE)
        async with delivered_by(api):
            assert await settled(database_url) == ["dead"]
        path = f"/api/v1/reports/{run}/deliveries"
        [dead] = (await owner.ask("GET", path)).json["deliveries"]
        assert dead["status"] == "dead"
        assert (await member.ask("GET", path)).status == 404
        assert (await member.ask("POST", f"{path}/{dead['id']}/retry")).status == 404
        with psycopg.connect(database_url) as connection:
            connection.execute("update store.report_run set requested_by = %s", (f"account:{member.id}",))
        assert (await member.ask("GET", path)).json["deliveries"] == [dead]
        assert (await member.ask("POST", f"{path}/{dead['id']}/retry")).status == 200
