"""API, workers and scheduler as processes of their own: what is accepted is counted once, and the commands do what they say."""

from __future__ import annotations

import datetime as dt
from typing import Any

from tests.integration.log_processes import deployment
from tests.integration.stored import found_differences
from tests.service_process import wait_until


def view(number: int) -> dict[str, Any]:
    """A view event of now."""
    return {
        "specversion": "1.0",
        "id": f"view-{number}",
        "source": "test",
        "type": "view",
        "time": dt.datetime.now(dt.UTC).isoformat(),
        "data": {"video_id": f"v{number % 3}", "creator_id": "c", "action": "view", "user_id": f"u{number}"},
    }


def views(service: Any) -> int:
    """What the rollup says."""
    _, answer, _ = service.request("/api/v1/query?rollup=video_engagement&measures=views&from=now-2d")
    return int(answer["rows"][0][0]) if answer["rows"] else 0


def test_processes_of_their_own(kafka: str, database_url: str) -> None:
    with deployment(kafka, database_url) as service:
        api = service.api()
        scheduler = service.start("scheduler")
        workers = [service.worker(), service.worker()]
        events = [view(number) for number in range(500)]
        for _ in range(2):
            assert service.request("/api/v1/events", events)[:2] == (202, {"accepted": 500, "rejected": []})
        wait_until(lambda: views(service) == 500, "the events to be counted")
        wait_until(service.counted, "the monitor to see that")
        status, health, _ = service.request("/health/detailed")
        assert (status, health["status"], health["log"]["kind"], health["log"]["moving"]) == (200, "ok", "kafka", True)
        assert (health["database"]["edition"], health["database"]["timescaledb"]) == ("plain", None)
        assert len(health["log"]["partitions"]) == 4 * 3
        assert sum(worker["partitions"] for worker in health["workers"]) == 12
        scheduler.says("scheduler is at work")
        assert [process.stop() for process in (*workers, scheduler, api)] == [0, 0, 0, 0]
        for process in (*workers, scheduler, api):
            assert "Traceback" not in process.text
    assert found_differences(database_url) == []
