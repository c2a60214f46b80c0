"""`streamgauge archive`, and what `/health/detailed` says of the archive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.archive import Archive
from storage.archive_write import archive_days
from storage.raw_days import drop_raw_days
from tests.integration.api_service import running
from tests.integration.archived import written
from tests.integration.stored import organizations, scalar
from tests.samples import START, system, trade
from tests.service_process import ROOT


def command(url: str, folder: Path, *words: str, retention: str = "") -> tuple[int, str, str]:
    """Exit code, output and errors of `streamgauge archive …`."""
    found = subprocess.run(
        [sys.executable, "streamgauge.py", "archive", *words],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": url,
            "STREAMGAUGE_ARCHIVE": str(folder),
            "STREAMGAUGE_RETENTION_DAYS": retention,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return found.returncode, found.stdout, found.stderr


def test_run_list_and_verify(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    written(database_url, [system("a"), system("b"), trade("c")], organizations(database_url, 1))
    code, _, errors = command(database_url, folder, "run")
    assert (code, "--older-than: is needed, as STREAMGAUGE_RETENTION_DAYS is not set" in errors) == (2, True)
    age = (datetime.now(UTC) - START).days
    assert command(database_url, folder, "run", retention=str(age + 2))[:2][0] == 0
    assert scalar(database_url, "select count(*) from store.archived_day") == 0
    code, told, _ = command(database_url, folder, "run", "--older-than", str(age - 1))
    assert (code, "archived 3 rows of 2 days of a kind" in told) == (0, True)
    assert scalar(database_url, "select count(*) from store.event_system") == 2
    code, told, errors = command(database_url, folder, "list", "--json")
    days = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    assert [(day["kind"], day["day"], day["rows"], day["files"], day["dropped"]) for day in days] == [
        ("system", "2026-03-28", 2, 1, False),
        ("trade", "2026-03-28", 1, 1, False),
    ]
    code, told, errors = command(database_url, folder, "list")
    assert (code, "2026-03-28" in told, "2 days of a kind, 3 rows" in errors) == (0, True, True)
    code, told, _ = command(database_url, folder, "verify")
    assert (code, told.splitlines()[-1]) == (0, "2 files, none damaged or missing")
    (place,) = folder.glob("trade/*/*/*.parquet")
    place.write_bytes(place.read_bytes()[:-1])
    code, told, _ = command(database_url, folder, "verify")
    assert (code, told.splitlines()[-1]) == (1, "2 files, 1 damaged or missing")
    assert str(place.relative_to(folder)) in told


async def test_health_tells_what_is_archived_and_what_waits(database_url: str, tmp_path: Path) -> None:
    # A database of its own: what waits is what all organizations have sent.
    async with running(database_url) as api:
        before = (await api.get("/health/detailed")).json["archive"]
        time = datetime(2003, 2, 1, tzinfo=UTC)
        await api.send(
            [api.system("web", time, cpu_usage=1.0), api.system("web", time + timedelta(days=1), cpu_usage=1.0)]
        )
        archive = Archive(tmp_path / "archive")
        (tmp_path / "archive").write_text("no folder")
        url = api.services.database.url
        assert archive_days(url, archive, datetime(2003, 3, 1, tzinfo=UTC).date()).problem is not None
        found = (await api.get("/health/detailed")).json["archive"]
        assert (found["oldest_waiting"], found["days_waiting"]) == ("2003-02-01", 2)
        (tmp_path / "archive").unlink()
        assert archive_days(url, archive, datetime(2003, 3, 1, tzinfo=UTC).date()).days == 2
        await drop_raw_days(api.services.database, datetime(2003, 3, 1, tzinfo=UTC).date(), archive)
        found = (await api.get("/health/detailed")).json["archive"]
        assert (found["days"] - before["days"], found["rows"] - before["rows"]) == (2, 2)
        assert found["bytes"] > before["bytes"]
        assert (found["oldest_waiting"], found["days_waiting"]) == (None, 0)
