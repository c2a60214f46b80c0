"""Folders for embedded clusters, and other processes that hold them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import embedded_reaper
from storage.embedded import EmbeddedPostgres
from tests.integration.embedded.holder import Holder, run, until


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path that every user can enter; whatever cluster belongs to it goes with it."""
    base = Path(tempfile.mkdtemp(prefix="sg-", dir="/tmp"))
    base.chmod(0o755)
    yield base / "data"
    for note in [*base.rglob("CLUSTER")]:
        shutil.rmtree(note.read_text().strip(), ignore_errors=True)
    for _ in range(3):
        shutil.rmtree(base, ignore_errors=True)
    assert not base.exists()


@pytest.fixture(scope="module")
def made_before() -> Iterator[Path]:
    """A data folder with a finished cluster, for the tests that are not about making one."""
    base = Path(tempfile.mkdtemp(prefix="sg-", dir="/tmp"))
    base.chmod(0o755)
    yield base / "data"
    shutil.rmtree(base)


@pytest.fixture
def used_folder(made_before: Path) -> Path:
    """A data folder that has been started and stopped before; nothing has been counted in it."""
    with EmbeddedPostgres(made_before) as postgres:
        run(postgres.start(), "DROP TABLE IF EXISTS starts")
    return made_before


@pytest.fixture
def holder() -> Iterator[Callable[..., Holder]]:
    made: list[Holder] = []

    def make(where: Path, **options: Any) -> Holder:
        made.append(Holder(where, **options))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.close()
    homes = {one.folder / "postgres" for one in made}
    until(lambda: all(map(embedded_reaper.server_is_gone, homes)), "the server to end with its last holder")
