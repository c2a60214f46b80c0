"""A process whose modules were set aside from the collector ends without a word."""

from __future__ import annotations

import subprocess
import sys

from tests.service_process import ROOT


def test_a_settled_process_ends_in_silence() -> None:
    code = "import duckdb; from front.serving import settle; settle()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("", "")
