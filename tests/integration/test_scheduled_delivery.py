"""From a schedule to those who get its reports: made over HTTP, due, made and handed over, each once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from pathlib import Path

from tests.integration.api_service import running
from tests.integration.delivery_service import delivered_by, mailer
from tests.integration.receivers import hook_receiver, mail_server
from tests.integration.report_service import Here, fetched, made_by
from tests.integration.schedule_service import at, dues, look, schedule

DUE = "2026-03-10T07:00"


def files(folder: Path) -> list[bytes]:
    return [one.read_bytes() for one in folder.rglob("*") if one.is_file()]


async def test_a_schedule_s_report_reaches_everybody_once(database_url: str, tmp_path: Path) -> None:
    # A database of its own: the jobs hand over what every organization's schedules made.
    async with running(database_url) as api, hook_receiver() as hooks, mail_server() as inbox:
        api.clock.now = at("2026-03-09T12:00")
        await api.send([api.trade(at("2026-03-09T10:00"), "12.34")])
        everybody = [
            {"kind": "mail", "address": "ann@example.org"},
            {"kind": "webhook", "url": hooks.url},
            {"kind": "store"},
        ]
        made = await schedule(api, type="pnl", cron="0 8 * * *", days="yesterday", recipients=everybody)
        api.clock.now = at(DUE)
        async with made_by(api, Here()), delivered_by(api, mail=mailer(inbox.port), folder=tmp_path) as counts:
            assert await look(api, DUE) == 1
            assert await look(api, DUE) == 0
            async with asyncio.timeout(30):
                while len(counts) < 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        (due,) = await dues(api, made["id"])
        assert due.period.isoformat() == "2026-03-10T08:00:00"
        path = f"/api/v1/reports/{due.report}"
        shown = (await api.get(path)).json["report"]
        assert shown["status"] == "succeeded"
        assert shown["period"] == {"from": "2026-03-09", "to": "2026-03-09", "tz": "Europe/Berlin"}
        found = (await api.get(f"{path}/deliveries")).json["deliveries"]
        assert [(one["recipient"]["kind"], one["status"], one["attempts"]) for one in found] == [
            ("mail", "delivered", 1),
            ("webhook", "delivered", 1),
            ("store", "delivered", 1),
        ]
        data = (await fetched(api, shown["download_url"])).body
        assert files(tmp_path) == [data]
        assert b"12.34" in data
        (mail,) = inbox.mails
        assert mail["Message-ID"].startswith(f"<{due.report}-0@")
        assert [part.get_content() for part in mail.iter_attachments()] in ([data], [data.decode()])
        (posted,) = hooks.posted
        assert posted.headers["webhook-id"] == f"{due.report}-1"
        secret = base64.b64decode(made["webhook_secret"].removeprefix("whsec_"))
        signed = f"{posted.headers['webhook-id']}.{posted.headers['webhook-timestamp']}.".encode() + posted.body
        right = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        assert posted.headers["webhook-signature"] == f"v1,{right}"
