"""The scheduler process as a user starts it: it hands reports over as its settings say, and tells what it gave up."""

from __future__ import annotations

import asyncio
import urllib.request
from pathlib import Path
from uuid import uuid4

from tests.integration.api_service import free_port, running, utc_now
from tests.integration.delivery_service import FILE, finished, later
from tests.integration.receivers import mail_server
from tests.integration.test_deliveries import MAIL, STORE, hook, rows, settled, stored, until_alerts
from tests.service_process import command

SECRET = "a secret of at least 32 bytes, as it must be"


async def test_a_scheduler_process_delivers_and_alerts(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    async with running(database_url) as api, mail_server() as inbox:
        api.clock.now = utc_now()
        run = await finished(api, database_url, MAIL, STORE, hook("https://127.0.0.1:1/hook"))
        process = command(
            "scheduler",
            data=tmp_path / "data",
            environment={
                "DATABASE_URL": database_url,
                "JWT_SECRET": SECRET,
                "STREAMGAUGE_PUBLIC_URL": api.url,
                "STREAMGAUGE_METRICS_PORT": str(port),
                "STREAMGAUGE_SMTP_URL": f"smtp://127.0.0.1:{inbox.port}",
                "STREAMGAUGE_MAIL_FROM": "Reports <reports@gauge.example>",
                "STREAMGAUGE_REPORT_STORE": str(tmp_path / "reports"),
            },
        )
        try:
            assert await settled(database_url, seconds=60) == ["delivered", "delivered", "dead"]
            # The alert goes through a log of the scheduler's own.
            later(api, minutes=2)
            await until_alerts(api, "report_deliveries_dead", [[1, 1]])
            told = await asyncio.to_thread(_read, f"http://127.0.0.1:{port}/metrics")
        finally:
            process.terminate()
            output, _ = await asyncio.to_thread(process.communicate, None, 30)
        assert process.returncode == 0, output
    assert rows(database_url, "error")[2] == "it is not an address of the internet"
    assert 'streamgauge_report_deliveries_total{kind="mail",outcome="delivered"} 1.0' in told
    assert 'streamgauge_report_deliveries_total{kind="webhook",outcome="dead"} 1.0' in told
    assert "delivery_dead" in output
    assert list(stored(tmp_path / "reports").values()) == [FILE]
    [mail] = inbox.mails
    assert (mail["From"], mail["Message-ID"]) == ("Reports <reports@gauge.example>", f"<{run}-0@gauge.example>")
    assert f"/api/v1/reports/{run}/download" in mail.as_string().replace("=\n", "")


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


async def test_with_kafka_the_alert_goes_through_kafka(database_url: str, kafka: str, tmp_path: Path) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "STREAMGAUGE_TOPIC_PREFIX": f"alerts-{uuid4().hex[:8]}",
    }
    async with running(database_url) as api:
        api.clock.now = utc_now()
        await finished(api, database_url, MAIL)
        processes = [command(name, data=tmp_path / name, environment=environment) for name in ("scheduler", "worker")]
        try:
            assert await settled(database_url, seconds=60) == ["dead"]
            later(api, minutes=2)
            await until_alerts(api, "report_deliveries_dead", [[1, 1]], seconds=60)
        finally:
            for process in processes:
                process.terminate()
            outputs = [(await asyncio.to_thread(process.communicate, None, 30))[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], outputs
