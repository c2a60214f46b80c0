"""Fonts for reports: a folder is looked at when the service starts; a character that no font has is an error that is told and logged."""

from __future__ import annotations

import asyncio
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from front.report_fonts import report_fonts
from front.serving import scheduler_command
from front.settings import InvalidSetting, Settings
from jobs.report_runs import making_reports
from jobs.reports.pool import RenderPool
from tests.integration.api_service import NOON, Reply, running
from tests.made_font import made_font
from tests.service_process import command

NAME = "STREAMGAUGE_REPORT_FONTS"


async def test_a_missing_glyph_fails_the_run_and_a_font_that_has_it_prints_it(
    database_url: str, tmp_path: Path
) -> None:
    made_font(tmp_path, "日経")
    async with running(database_url) as api:
        await api.send([api.trade(NOON - timedelta(hours=3), "1", symbol="日経")])

        async def asked(fonts: tuple[str, ...]) -> Reply:
            pool = RenderPool(1, fonts=fonts)
            try:
                async with making_reports(api.services.database, pool, at_once=1, now=lambda: api.clock.now):
                    return await api.request("POST", "/api/v1/reports", json={"type": "pnl", "format": "pdf"})
            finally:
                await pool.close(at_once=True)

        with capture_logs() as logs:
            reply = await asked(())
        assert reply.status == 422, reply.text
        assert "U+65E5" in reply.json["detail"]
        (logged,) = [entry for entry in logs if entry["event"] == "report_failed"]
        assert (logged["log_level"], logged["status"], logged["type"]) == ("error", 422, "pnl")
        assert logged["reason"] == reply.json["detail"]
        assert reply.headers["Location"].endswith(logged["run"])

        reply = await asked(report_fonts(Settings(report_fonts=tmp_path)))
        assert reply.status == 200, reply.text
        async with api.session.get(reply.json["report"]["download_url"]) as file:
            pdf = await file.read()
        done = await asyncio.to_thread(
            subprocess.run, ["pdftotext", "-", "-"], input=pdf, capture_output=True, check=True
        )
        assert "日経" in done.stdout.decode()


def test_a_folder_without_a_font_is_refused_with_the_settings_name(tmp_path: Path) -> None:
    assert report_fonts(Settings()) == ()
    (tmp_path / "fonts").mkdir()
    (tmp_path / "fonts" / "README.txt").write_text("no font")
    (tmp_path / "fonts" / "page.ttf").write_text("<html>not found</html>")
    for folder, reason in (("nowhere", "is no folder"), ("fonts/README.txt", "is no folder"), ("fonts", "no font")):
        settings = Settings(report_fonts=tmp_path / folder, database_url="postgresql://127.0.0.1:1/none")
        with pytest.raises(InvalidSetting, match=f"^{NAME}: .*{reason}"):
            report_fonts(settings)
        with pytest.raises(InvalidSetting, match=f"^{NAME}: "):
            scheduler_command(settings, Console())
    made_font(tmp_path / "fonts" / "deeper", "日")
    assert report_fonts(Settings(report_fonts=tmp_path / "fonts")) == (str(tmp_path / "fonts"),)


def test_run_ends_at_once_and_says_so(data_folder: Path) -> None:
    process = command("run", data=data_folder, environment={NAME: "/nowhere/fonts"})
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"{NAME}: /nowhere/fonts is no folder" in output
    assert "Traceback" not in output
    assert not data_folder.exists()
