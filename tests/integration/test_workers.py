"""`--workers N`: several API processes behind one port, which answer alike, push every change and end together."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.test_run import view, views_counted
from tests.service_process import ServiceProcess, command, wait_until

QUIET = {"STREAMGAUGE_COLLECT_HOST": "false", "STREAMGAUGE_WORKERS": "2"}


@pytest.fixture
def service(data_folder: Path) -> Iterator[ServiceProcess]:
    """Two processes."""
    with ServiceProcess(data_folder, environment=QUIET) as service:
        yield service
        assert service.stop() == 0
        assert not any("Traceback" in line for line in service.output), "".join(service.output)


def listeners(service: ServiceProcess) -> set[int]:
    """The processes that listen on the service's port."""
    port = int(service.url.rpartition(":")[2])
    family = [psutil.Process(service.process.pid), *psutil.Process(service.process.pid).children(recursive=True)]
    found = set()
    for process in family:
        with contextlib.suppress(psutil.Error):
            if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections("tcp")):
                found.add(process.pid)
    return found


def connected(pid: int) -> int:
    """How many connections a process has that somebody made to it."""
    return sum(c.status == psutil.CONN_ESTABLISHED for c in psutil.Process(pid).net_connections("tcp"))


def first_state_with(answer: Any, text: str) -> bool:
    """Reads a stream until a state that holds the text."""
    return any(line.startswith(b"data:") and text.encode() in line for line in answer)


def test_both_push_every_change_and_count_together(service: ServiceProcess) -> None:
    assert len(listeners(service)) == 2
    question = "/api/v1/stream?rollup=video_engagement&measures=views&from=now-2d"
    headers = {"Authorization": f"Bearer {service.credentials['api_key']}"}
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(
                urllib.request.urlopen(urllib.request.Request(service.url + question, headers=headers), timeout=20)
            )
            for _ in range(24)
        ]
        # The kernel spreads connections by a hash: that all 24 meet the same process is one chance in eight million.
        assert all(connected(pid) for pid in listeners(service))
        service.request("/api/v1/events", [view(number) for number in range(7)])
        with ThreadPoolExecutor(len(streams)) as readers:
            assert all(readers.map(lambda answer: first_state_with(answer, '"rows":[[7]]'), streams))
        _, metrics, _ = service.request("/metrics")
        assert 'streamgauge_streams{mode="state"} 24.0' in metrics
    # Sent again, to whichever process: each knows what the other one counted.
    for _ in range(6):
        service.request("/api/v1/events", [view(number) for number in range(7)])
        assert views_counted(service) == 7
    _, metrics, _ = service.request("/metrics")
    counted = re.search(r"^streamgauge_events_counted_total (\S+)$", metrics, re.MULTILINE)
    known = re.search(r"^streamgauge_events_known_total (\S+)$", metrics, re.MULTILINE)
    assert counted
    assert known
    assert (float(counted[1]), float(known[1])) == (7, 42)


ANSWERED_ALIKE = (
    "/api/v1/rollups",
    "/api/v1/query?rollup=video_engagement&measures=views&group_by=creator_id&from=2026-01-01&to=2026-01-03",
    "/api/v1/query?rollup=trade_pnl&measures=trades,net,win_rate&group_by=symbol&grain=1d&from=2026-01-01&to=2026-01-03",
    "/api/v1/dashboard/stats",
    "/api/v1/dashboard/analytics?timeRange=7d&tz=Asia/Kathmandu",
    "/api/v1/enterprise/metrics?timeRange=30d",
    "/api/unify/v1/metrics?time_range=365d",
    "/api/unify/v1/reports/pnl?from=2026-01-01&to=2026-01-03&starting_equity=100",
    "/api/unify/v1/analytics/trades?from=2026-01-01&to=2026-01-03&group_by=symbol&recent=10",
    "/api/unify/v1/analytics/strategies?from=2026-01-01&to=2026-01-03",
    "/api/v1/deployments",
)


def event(kind: str, number: int, data: dict[str, Any]) -> dict[str, Any]:
    """An event of the new year."""
    time = f"2026-01-02T10:00:{number:02d}Z"
    return {"specversion": "1.0", "id": f"{kind}-{number}", "source": "test", "type": kind, "time": time, "data": data}


def trade(number: int) -> dict[str, Any]:
    """A trade that won a cent more than the one before."""
    time = f"2026-01-02T10:00:{number:02d}Z"
    figures = {"quantity": 1, "entry_price": 1, "exit_price": 1, "pnl": f"{number}.01", "currency": "USD"}
    who = {"trade_id": f"t{number}", "user_id": "ada", "broker": "b", "symbol": f"S{number % 3}", "side": "buy"}
    return event("trade", number, {**who, **figures, "opened_at": time, "closed_at": time})


def test_every_process_gives_the_same_answer(service: ServiceProcess) -> None:
    service.request("/api/v1/events", [trade(number) for number in range(30)])
    service.request("/api/v1/events", [event("enterprise", 1, {"metrics": {"model_accuracy": 89.2}})])
    service.request("/api/v1/events", [view(number, time="2026-01-02T10:00:00Z") for number in range(5)])
    service.request("/api/v1/deployments", {"service": "web", "version": "1", "environment": "test"})
    with ThreadPoolExecutor(8) as readers:
        for path in ANSWERED_ALIKE:
            # Each request has a connection of its own, which the kernel gives to one of the processes.
            answers = list(readers.map(service.request, [path] * 16))
            assert {status for status, _, _ in answers} == {200}, path
            assert len({json.dumps(body) for _, body, _ in answers}) == 1, path
            assert len({headers["ETag"] for _, _, headers in answers}) == 1, path
        # A tag of one process is known to the other.
        tag = service.request(ANSWERED_ALIKE[-2])[2]["ETag"]
        again = readers.map(lambda _: service.request(ANSWERED_ALIKE[-2], headers={"If-None-Match": tag})[0], range(16))
        assert set(again) == {304}


def test_what_one_process_accepted_is_in_the_next_answer_of_any(service: ServiceProcess) -> None:
    path = "/api/unify/v1/metrics?from=2026-01-01&to=2026-01-03"
    with ThreadPoolExecutor(8) as readers:
        for number in range(1, 21):
            # Both have the answer without it in their memory.
            list(readers.map(service.request, [path] * 8))
            assert service.request("/api/v1/events", [trade(number)])[0] == 202
            answers = readers.map(service.request, [path] * 8)
            assert {answer["totalTrades"] for _, answer, _ in answers} == {number}


def test_one_that_dies_is_started_again(service: ServiceProcess) -> None:
    (other,) = listeners(service) - {service.process.pid}
    psutil.Process(other).kill()
    fresh = wait_until(lambda: listeners(service) - {service.process.pid, other}, "another process")
    assert other not in fresh
    assert service.request("/api/v1/rollups")[0] == 200


def test_they_end_with_the_first_one(data_folder: Path) -> None:
    with ServiceProcess(data_folder, environment=QUIET) as service:
        others = [psutil.Process(pid) for pid in listeners(service) - {service.process.pid}]
        service.kill()
        _, alive = psutil.wait_procs(others, timeout=20)
        assert not alive


def test_a_port_that_another_service_shares_is_taken(service: ServiceProcess, tmp_path: Path) -> None:
    port = service.url.rpartition(":")[2]
    second = command("run", data=tmp_path / "second", environment=QUIET | {"STREAMGAUGE_PORT": port})
    try:
        output, _ = second.communicate(timeout=60)
    finally:
        if second.poll() is None:
            second.send_signal(signal.SIGTERM)
    assert second.returncode == 2
    assert f"port {port}: " in output
