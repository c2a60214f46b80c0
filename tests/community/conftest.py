"""TimescaleDB's community edition for the tests of compression: a third party's build for WebAssembly, which Node runs.

It is one connection inside one process, so the statements are the service's and the driver is not. Debian's and PyPI's builds are
the Apache edition, which has no compression.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
Statement = str | tuple[str, str]
"""SQL; or a COPY and what is copied."""

Run = Callable[[Sequence[Statement]], list[list[dict[str, Any]]]]


@pytest.fixture(scope="session")
def community() -> Run:
    """Runs statements in a fresh database, one after the other, and gives the rows of each; the first error fails the test."""
    folder = _installed()

    def run(statements: Sequence[Statement]) -> list[list[dict[str, Any]]]:
        sent = [(one, None) if isinstance(one, str) else one for one in statements]
        done = subprocess.run(["node", folder / "run.mjs"], input=json.dumps(sent), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        answers = json.loads(done.stdout)
        for statement, answer in zip(statements, answers, strict=True):
            assert answer["error"] is None, f"{answer['error']}: {statement}"
        return [answer["rows"] for answer in answers]

    return run


def _installed() -> Path:
    """The folder with the packages, installed once a machine. Skips where that cannot be; with CI=true that is a failure."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamgauge" / "community-edition"
    version = (HERE / "package-lock.json").read_bytes()
    if not (cache / "node_modules").exists() or (cache / "package-lock.json").read_bytes() != version:
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, cache / name)
        try:
            subprocess.run(
                ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=cache,
                check=True,
                capture_output=True,
                timeout=120,
            )
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(cache, ignore_errors=True)
            reason = f"TimescaleDB's community edition for Node could not be installed: {error}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(f"SKIPPED, compression is not tested: {reason}")
    shutil.copy(HERE / "run.mjs", cache / "run.mjs")
    return cache
