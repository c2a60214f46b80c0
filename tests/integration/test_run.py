"""`streamgauge run` as a user meets it: starts, credentials, ends, crashes, refusals."""

from __future__ import annotations

import datetime as dt
import http.cookiejar
import signal
import socket
import stat
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.service_process import ServiceProcess, command, wait_until


def view(number: int, **changes: Any) -> dict[str, Any]:
    """A view event."""
    return {
        "specversion": "1.0",
        "id": f"view-{number}",
        "source": "test",
        "type": "view",
        "time": dt.datetime.now(dt.UTC).isoformat(),
        "data": {"video_id": "v", "creator_id": "c", "action": "view", "user_id": f"u{number}"},
    } | changes


def views_counted(service: ServiceProcess) -> int:
    """What the rollup says."""
    _, answer, _ = service.request("/api/v1/query?rollup=video_engagement&measures=views&from=now-2d")
    return int(answer["rows"][0][0]) if answer["rows"] else 0


def test_first_start_makes_credentials_that_only_their_owner_reads(data_folder: Path) -> None:
    with ServiceProcess(data_folder) as service:
        path = data_folder / "credentials.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert set(service.credentials) == {"url", "organization_id", "admin_email", "admin_password", "api_key"}
        assert service.credentials["url"] == service.url
        login = {"email": service.credentials["admin_email"], "password": service.credentials["admin_password"]}
        status, token, _ = service.request("/api/auth/login", login)
        assert status == 200
        status, me, _ = service.request("/api/auth/me", headers={"Authorization": f"Bearer {token['access_token']}"})
        assert status == 200
        assert me["organization"]["id"] == service.credentials["organization_id"]


def test_the_host_measures_itself(data_folder: Path) -> None:
    with ServiceProcess(data_folder) as service:
        stats = wait_until(
            lambda: service.request("/api/v1/dashboard/stats")[1]["systemMetrics"]["memoryUsage"],
            "the host's memory usage",
        )
        assert 0 < stats <= 100
        _, answer, headers = service.request("/api/v1/query?rollup=system_metrics&measures=last&group_by=metric")
        metrics = {row[0] for row in answer["rows"]}
        assert {"cpu_usage", "memory_usage", "network_latency", "active_connections"} <= metrics
        assert headers["X-As-Of"]
        _, performance, _ = service.request("/api/performance")
        assert (performance["configuration"]["workers"], performance["configuration"]["log"]) == (1, "direct")
        assert performance["uptime_seconds"] >= 0
        status, health, _ = service.request("/health/detailed")
        assert (status, health["scheduler"]["status"], health["disk"]["needed"]) == (200, "ok", True)
        assert health["disk"]["free_bytes"] > 0


def test_the_sign_in_link_works_once(data_folder: Path) -> None:
    with ServiceProcess(data_folder, environment={"STREAMGAUGE_COLLECT_HOST": "false"}) as service:
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        browser.open(service.sign_in, timeout=10).close()
        with browser.open(service.url + "/api/auth/me", timeout=10) as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError) as again:
            urllib.request.urlopen(service.sign_in, timeout=10)
        assert again.value.code == 410
        again.value.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_with_a_stream_open(data_folder: Path, number: int) -> None:
    with ServiceProcess(data_folder) as service:
        stream = urllib.request.Request(
            service.url + "/api/v1/stream?rollup=system_metrics&measures=last",
            headers={"Authorization": f"Bearer {service.credentials['api_key']}"},
        )
        with urllib.request.urlopen(stream, timeout=10) as answer:
            assert answer.readline()
            assert service.stop(number, seconds=10) == 0
        assert not any("Traceback" in line for line in service.output), "".join(service.output)
        assert not any((data_folder / "postgres").rglob("postmaster.pid"))


def test_after_kill_9_everything_accepted_is_there_and_counts_once(data_folder: Path) -> None:
    quiet = {"STREAMGAUGE_COLLECT_HOST": "false"}
    accepted = 0
    for _ in range(3):
        with ServiceProcess(data_folder, environment=quiet) as service:
            assert views_counted(service) == accepted
            # The first of this round was accepted in the last one, too.
            events = [view(number) for number in range(max(0, accepted - 1), accepted + 5)]
            status, answer, _ = service.request("/api/v1/events", events)
            assert (status, answer["rejected"]) == (202, [])
            accepted += 5
            service.kill()
    with ServiceProcess(data_folder, environment=quiet) as service:
        assert views_counted(service) == accepted
        assert service.stop() == 0
    verify = command("verify", data=data_folder)
    output, _ = verify.communicate(timeout=60)
    assert verify.returncode == 0, output
    assert "no differences" in output


def test_verify_and_rebuild_work_beside_a_running_service(data_folder: Path) -> None:
    with ServiceProcess(data_folder) as service:
        service.request("/api/v1/events", [view(number) for number in range(50)])
        for arguments in (
            ("verify",),
            ("rebuild", "--rollup", "video_engagement"),
            ("verify", "--rollup", "video_engagement"),
        ):
            process = command(*arguments, data=data_folder)
            output, _ = process.communicate(timeout=60)
            assert process.returncode == 0, output
        assert views_counted(service) == 50


def test_the_demo_is_an_organization_of_its_own(data_folder: Path) -> None:
    with ServiceProcess(data_folder, "--demo") as service:
        assert views_counted(service) == 0
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        browser.open(service.sign_in, timeout=10).close()
        with browser.open(service.url + "/api/auth/me", timeout=10) as answer:
            text = answer.read().decode()
        assert "Demo (simulated data)" in text


def test_an_unknown_setting_is_refused_with_the_nearest_one(data_folder: Path) -> None:
    process = command("run", data=data_folder, environment={"STREAMGAUGE_PROT": "8000"})
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "STREAMGAUGE_PROT" in output
    assert "STREAMGAUGE_PORT" in output
    assert "Traceback" not in output


def test_a_taken_port_is_one_line(data_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = command("run", data=data_folder, environment={"STREAMGAUGE_PORT": port})
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert port in output
    assert "Traceback" not in output
