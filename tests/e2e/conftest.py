"""Says loudly at the end of a run that the page was not looked at."""

from __future__ import annotations

from typing import Any

from tests.e2e.page_service import NOT_TESTED, browser_path


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line where there is no browser."""
    if browser_path() is None:
        terminalreporter.write_line(NOT_TESTED, red=True, bold=True)
