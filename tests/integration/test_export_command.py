"""`streamgauge export`: beside a running service, and behind a line that loses or changes what it carries."""

from __future__ import annotations

import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from front.export_command import AskedExport, export_command
from front.settings import Settings
from front.targets import Target
from tests.service_process import ROOT, ServiceProcess, clean_environment

RANGE = ("--from", "2026-01-01", "--to", "2026-01-03")


@pytest.fixture
def service(data_folder: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(data_folder, environment={"STREAMGAUGE_COLLECT_HOST": "false"}) as running:
        event = {
            "specversion": "1.0",
            "source": "test",
            "type": "system",
            "time": "2026-01-01T10:00:00Z",
            "data": {"host": "a\nb", "metrics": {"cpu_usage": 1.5}},
        }
        assert running.request("/api/v1/events", [{**event, "id": str(n)} for n in range(3)])[0] == 202
        yield running
        assert running.stop() == 0


def ran(service: ServiceProcess, folder: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    """What the command printed for programs and for people."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "streamgauge.py"), "export", *arguments],
        cwd=folder,
        env={**clean_environment(service.data), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


@contextmanager
def line(service: ServiceProcess, spoil: Callable[[bytes], bytes], *, lengths: bool) -> Iterator[str]:
    """The address of a proxy that does something to the bodies of files."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = {"Authorization": self.headers["Authorization"]}
            with urllib.request.urlopen(urllib.request.Request(service.url + self.path, headers=key)) as answer:
                body = answer.read()
                self.send_response(200)
                for name in ("Content-Disposition", "X-Export-ID"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                sent = spoil(body) if "?" in self.path else body
                self.send_header("Content-Length", str(len(body if lengths else sent)))
                self.end_headers()
                self.wfile.write(sent)

        def log_message(self, *_: object) -> None:
            """Nobody wants to know."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_is_written_where_it_is_what_the_manifest_says(service: ServiceProcess, tmp_path: Path) -> None:
    printed, shown = ran(service, tmp_path, "system_metrics", *RANGE, "--group-by", "host", "--measures", "count,max")
    assert printed == "system_metrics-2026-01-01-2026-01-03.csv\n"
    assert "system_metrics is being checked" in shown
    assert (tmp_path / printed.strip()).read_bytes() == b'host,count,max\r\n"a\nb",3,1.5\r\n'

    whole = ("system_metrics", *RANGE, "--grain", "1h", "--fill", "zero", "--measures", "count")
    for form in ("parquet", "xlsx"):
        place = tmp_path / f"a.{form}"
        assert ran(service, tmp_path, *whole, "--format", form, "--out", str(place))[0] == f"{place}\n"
    assert pl.read_parquet(tmp_path / "a.parquet").height == 48
    kept = sorted(path.name for path in tmp_path.iterdir())

    for arguments, reason in (
        (("nothing",), "rollup: 'nothing' is none"),
        (("trade_pnl", "--from", "2026-01-02", "--to", "2026-01-01"), "from: "),
        (("trade_pnl", "--format", "pdf"), "format: "),
        (("trade_pnl", "--api-key", "sg_aaaaaaaa_" + "a" * 43), "no export"),
        (("trade_pnl", "--out", str(tmp_path / "nowhere" / "a.csv")), "No such file"),
    ):
        assert reason in ran(service, tmp_path, *arguments, code=1)[1]
    for spoil, lengths, reason in (
        (lambda body: body[:-5], True, "came; the manifest says"),
        (lambda body: body[:-5], False, "came; the manifest says"),
        (lambda body: body.replace(b"0", b"1", 1), True, "with the checksum"),
    ):
        with line(service, spoil, lengths=lengths) as url:
            said = ran(service, tmp_path, *whole, "--out", "b.csv", "--url", url, code=1)[1]
            assert reason in said
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    assert "no http address" in ran(service, tmp_path, "trade_pnl", "--url", "file:///etc", "--api-key", "x", code=2)[1]


def test_a_file_that_is_long_in_the_making_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = {}

    def opened(request: urllib.request.Request, timeout: float) -> None:
        waited[request.full_url.rpartition("=")[2]] = timeout
        raise TimeoutError

    monkeypatch.setattr(urllib.request, "urlopen", opened)
    target = Target("http", "http://127.0.0.1:1", "x", None)
    for form in ("csv", "parquet", "xlsx"):
        asked = AskedExport("trade_pnl", form, {}, [])
        assert export_command(Settings(), target, asked, None, Console(quiet=True)) == 1
    assert waited["csv"] <= 120
    assert min(waited["parquet"], waited["xlsx"]) > 3_600
