"""Event ids: a place in the feed as opaque text."""

from __future__ import annotations

import base64
import binascii

from api.stream.tail import END, Cursor


def encode_cursor(cursor: Cursor) -> str:
    """An opaque event id."""
    return base64.urlsafe_b64encode(f"{cursor[0]}.{cursor[1]}".encode()).decode().rstrip("=")


def decode_cursor(text: str) -> Cursor | None:
    """The place that an event id stands for; None for an id that this service never gave."""
    try:
        position, _, item = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)).decode().partition(".")
        cursor = (int(position), int(item))
    except (ValueError, binascii.Error):
        return None
    return cursor if 0 <= cursor[0] < 2**62 and -1 <= cursor[1] <= END else None
