"""`--workers N`: several API processes behind one port, which answer alike, push every change and end together."""

from __future__ import annotations

import contextlib
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
