"""Request bodies before their events are looked at: what is not JSON is set apart, what holds many events is split."""

from __future__ import annotations

import re

import msgspec

_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?(?:NaN|Infinity)\b', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}").fullmatch


class MalformedBody(ValueError):
    """The body as a whole cannot be read; nothing in it was accepted."""


class TooManyEvents(ValueError):
    """A request holds more than 10,000 events."""


def mark_lone_surrogates(body: bytes) -> bytes:
    """Turns each lone surrogate into a NUL, so that the event that holds it is refused and not the whole body with it."""
    if b"\\ud" not in body and b"\\uD" not in body:
        return body
    return _ESCAPE.sub(lambda found: b"\\u0000" if _SURROGATE(found[0]) else found[0], body)


def quote_non_numbers(body: bytes) -> bytes:
    """Quotes NaN and Infinity, which JSON does not have and some encoders write, so that only their events are refused."""
    if b"NaN" not in body and b"Infinity" not in body:
        return body
    return _TOKEN.sub(lambda found: found[0] if found[0][:1] == b'"' else b'"' + found[0] + b'"', body)


def elements(body: bytes) -> list[bytes]:
    """Splits a JSON body into its events without looking into them."""
    try:
        if body.lstrip()[:1] == b"[":
            return [bytes(raw) for raw in _RAWS.decode(body)]
        msgspec.json.decode(body, type=msgspec.Raw)
        return [body]
    except msgspec.DecodeError as error:
        raise MalformedBody(f"body: {sentence(str(error))}") from None
    except UnicodeDecodeError:
        raise MalformedBody("body: is not UTF-8") from None
    except RecursionError:
        raise MalformedBody("body: nested too deeply") from None


def ndjson_lines(body: bytes) -> list[bytes]:
    """Splits NDJSON into its lines that are not empty."""
    lines = [line for line in body.splitlines() if line.strip()]
    if not lines:
        raise MalformedBody("body: no line holds an event")
    return lines


def sentence(text: str) -> str:
    """Lowers the first letter and keeps a message short, whatever a sender put into it."""
    return (text[:1].lower() + text[1:] if text[1:2].islower() else text)[:200]
