"""The archive of raw events that the settings name."""

from __future__ import annotations

from front.settings import Settings
from storage.archive import Archive


def raw_archive(settings: Settings) -> Archive:
    """The archive in its folder, which need not be there yet."""
    return Archive((settings.archive or settings.data / "archive").absolute())
