"""Texts that people or tokens give to be shown: bounded, and without what cannot be seen."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

LONGEST_SUBJECT = 255
LONGEST_EMAIL_TEXT = 320
LONGEST_NAME = 255
LONGEST_URL = 2048


def text_from(value: Any, most: int) -> str | None:
    """A value as text for people: without control characters and lone surrogates, stripped, cut; None where nothing is left."""
    if not isinstance(value, str):
        return None
    kept = "".join([character for character in value[: 2 * most] if character.isprintable()])
    return kept.strip()[:most].strip() or None


def web_address_from(value: Any) -> str | None:
    """A value as an http or https address; None for anything else, such as a script."""
    if not isinstance(value, str) or len(value) > LONGEST_URL or not value.isprintable() or " " in value:
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    return value if parts.scheme in ("http", "https") and parts.hostname else None
