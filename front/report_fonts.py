"""The fonts that PDFs may use beside their own: a folder that is looked at when the service starts."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from front.settings import InvalidSetting, Settings, variable

_ENDINGS = frozenset({".ttf", ".otf", ".ttc", ".otc"})
_BEGINNINGS = frozenset({b"\x00\x01\x00\x00", b"true", b"OTTO", b"ttcf"})
"""The first bytes of an OpenType file or collection."""


def report_fonts(settings: Settings) -> tuple[str, ...]:
    """The folders with fonts for reports. Raises InvalidSetting for one that is not there, or has no font that can be read."""
    folder = settings.report_fonts
    if folder is None:
        return ()
    name = variable("report_fonts")
    if not folder.is_dir():
        raise InvalidSetting(f"{name}: {escape(str(folder))} is no folder")
    if not any(_is_font(path) for path in folder.rglob("*")):
        raise InvalidSetting(
            f"{name}: no font that can be read ({', '.join(sorted(_ENDINGS))}) is in {escape(str(folder))}"
        )
    return (str(folder.resolve()),)


def _is_font(path: Path) -> bool:
    if path.suffix.lower() not in _ENDINGS:
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) in _BEGINNINGS
    except OSError:
        # A font that this user may not read is none for the reports.
        return False
