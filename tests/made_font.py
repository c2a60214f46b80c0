"""A font that has what Roboto lacks, made where it is needed: boxes with the shape of nothing, for the characters that a test wants."""

from __future__ import annotations

from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

FAMILY = "Some Ideographs"
_EM = 1000


def made_font(folder: Path, characters: str) -> Path:
    """A TrueType font of these characters in the folder."""
    names = {ord(character): f"u{ord(character):04X}" for character in characters}
    font = FontBuilder(_EM, isTTF=True)
    font.setupGlyphOrder([".notdef", *names.values()])
    font.setupCharacterMap(names)
    font.setupGlyf({name: _box() for name in (".notdef", *names.values())})
    font.setupHorizontalMetrics(dict.fromkeys([".notdef", *names.values()], (_EM, 100)))
    font.setupHorizontalHeader(ascent=880, descent=-120)
    font.setupNameTable({"familyName": FAMILY, "styleName": "Regular", "psName": FAMILY.replace(" ", "")})
    font.setupOS2(sTypoAscender=880, sTypoDescender=-120, usWinAscent=880, usWinDescent=120)
    font.setupPost()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ideographs.ttf"
    font.save(path)
    return path


def _box() -> object:
    pen = TTGlyphPen(None)
    corners = ((100, 0), (100, 800), (900, 800), (900, 0))
    pen.moveTo(corners[0])
    for corner in corners[1:]:
        pen.lineTo(corner)
    pen.closePath()
    return pen.glyph()
