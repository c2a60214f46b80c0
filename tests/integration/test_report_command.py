"""`streamgauge report`: beside a running service, whose own processes render."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from python_calamine import CalamineWorkbook

from tests.service_process import ROOT, ServiceProcess, clean_environment


@pytest.fixture
def service(data_folder: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(data_folder, environment={"STREAMGAUGE_COLLECT_HOST": "false"}) as running:
        yield running
        assert running.stop() == 0


def ran(service: ServiceProcess, folder: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    """What the command printed for programs and for people."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "streamgauge.py"), "report", *arguments],
        cwd=folder,
        # Its bar as on a terminal, with every step.
        env={**clean_environment(service.data), "PYTHONPATH": str(ROOT), "FORCE_COLOR": "1", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_a_report_is_made_and_written(service: ServiceProcess, tmp_path: Path) -> None:
    printed, shown = ran(service, tmp_path, "performance", "--from", "2026-01-01", "--to", "2026-03-31")
    assert printed == "performance-2026-01-01-2026-03-31.pdf\n"
    assert "performance report" in shown
    assert "renders the file" in shown
    assert (tmp_path / printed.strip()).read_bytes().startswith(b"%PDF-")

    book = tmp_path / "book.xlsx"
    assert ran(service, tmp_path, "pnl", "--format", "excel", "--out", str(book))[0] == f"{book}\n"
    assert CalamineWorkbook.from_filelike(io.BytesIO(book.read_bytes())).sheet_names[0] == "Summary"

    for arguments, reason in (
        (("taxes",), "type: is none of the known values"),
        (("team", "--from", "2026-03-05", "--to", "2026-03-04"), "from: the first day lies after the last"),
        (("team", "--api-key", "sg_aaaaaaaa_" + "a" * 43), "no report"),
        (("team", "--out", str(tmp_path / "nowhere" / "a.pdf")), "No such file"),
    ):
        assert reason in ran(service, tmp_path, *arguments, code=1)[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book.xlsx", "performance-2026-01-01-2026-03-31.pdf"]
    assert "no http address" in ran(service, tmp_path, "team", "--url", "file:///etc", "--api-key", "x", code=2)[1]
