"""Usernames: what people are called on boards and videos, unique in an organization whatever the case."""

from __future__ import annotations

import unicodedata
from typing import Any

LONGEST_USERNAME = 64


def username_from(value: Any) -> str | None:
    """The name in its normal form (NFKC); None for what is no name: no text, empty, too long, or with invisible characters.

    Characters that look alike in other alphabets stay: a name is shown, and opens nothing.
    """
    if not isinstance(value, str) or len(value) > 4 * LONGEST_USERNAME:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    name = unicodedata.normalize("NFKC", value).strip()
    return name if 0 < len(name) <= LONGEST_USERNAME and name.isprintable() else None
