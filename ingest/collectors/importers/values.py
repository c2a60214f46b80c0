"""Texts of a file to the values of an event: numbers and times, each refused with what was expected."""

from __future__ import annotations

import datetime as dt
import math
import re

from ingest.collectors.importers.row import BadRow

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?").fullmatch
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}").fullmatch
_EPOCH = re.compile(r"[0-9]{9,10}(?:\.[0-9]+)?|[0-9]{12,13}").fullmatch


def decimal_text(text: str) -> str:
    """Returns the text of a decimal number, digit for digit as it stands in the file."""
    text = text.strip()
    if not _NUMBER(text):
        raise BadRow(f"{shown(text)} is no decimal number")
    return text


def measured(text: str) -> float:
    """Returns a measured value as a finite binary number."""
    value = float(decimal_text(text))
    if not math.isfinite(value):
        raise BadRow(f"{shown(text)} is too large")
    return value


def whole(text: str) -> int:
    """Returns an integer."""
    if not _WHOLE(text.strip()):
        raise BadRow(f"{shown(text)} is no whole number")
    return int(text)


def choice(words: tuple[str, ...], text: str) -> str:
    """Returns the one of some words that the text is, in whatever case it was written."""
    word = text.strip().lower()
    if word not in words:
        raise BadRow(f"{shown(text)} is none of {', '.join(words)}")
    return word


def instant(text: str) -> str:
    """Returns a time in RFC 3339, in UTC. A time without a zone is UTC.

    Read are ISO 8601, with a space or a T, and seconds or milliseconds since 1970 (9 to 10 or 12 to 13 digits).
    """
    text = text.strip()
    try:
        if _EPOCH(text):
            seconds = float(text) if len(text.partition(".")[0]) <= 10 else int(text) / 1000
            found = dt.datetime.fromtimestamp(seconds, dt.UTC)
        else:
            found = dt.datetime.fromisoformat(text.removesuffix(" UTC"))
    except (ValueError, OverflowError):
        raise BadRow(
            f"{shown(text)} is no time; expected one such as 2026-01-05 10:00:00 or 2026-01-05T10:00:00+01:00"
        ) from None
    try:
        found = found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found.astimezone(dt.UTC)
    except OverflowError:
        raise BadRow(f"{shown(text)} lies outside the years 1 to 9999") from None
    return found.isoformat().replace("+00:00", "Z")


def shown(text: str) -> str:
    """Returns a text in quotes, short enough for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "…")
