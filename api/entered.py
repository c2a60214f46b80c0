"""What people enter: bodies of a few fields, names, e-mail addresses; refused with the field's name and never with its value."""

from __future__ import annotations

import re
import unicodedata
from typing import TypeVar

import msgspec
from aiohttp import web

from aggregators import calendar
from api.errors import Problem

MOST_BYTES = 16 * 1024
LONGEST_ADDRESS = 254
LONGEST_NAME = 200

_T = TypeVar("_T")
_FIELD = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")
_UNKNOWN = re.compile(r"contains unknown field `(.{1,80})`")
# One `@`, something before it, names with a dot after it. Whether somebody reads what is sent there only a letter would tell.
_ADDRESS = re.compile(r"[^\s@\"(),:;<>\[\\\]]{1,64}@(?:[\w](?:[\w-]{0,61}[\w])?\.)+[\w](?:[\w-]{0,61}[\w])?")


async def read_body(request: web.Request, most: int = MOST_BYTES) -> bytes:
    """The request's body; raises Problem 413 for more than `most` bytes."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > most:
            raise Problem(413, f"the body may have at most {most} bytes")
    return bytes(body)


async def read_json(request: web.Request, shape: type[_T], *, empty: _T | None = None) -> _T:
    """The JSON body as a typed value, `empty` where there is none; raises Problem 400, 413, 415, or 422 with the field."""
    body = await read_body(request)
    if not body and empty is not None:
        return empty
    if request.content_type != "application/json":
        raise Problem(415, "expected application/json")
    try:
        found = msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise _wrong(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "body: is not JSON", parameter="body") from None
    # PostgreSQL has no NUL in texts.
    for field in getattr(found, "__struct_fields__", ()):
        value = getattr(found, field)
        if isinstance(value, str) and "\x00" in value:
            raise Problem(422, f"{field}: holds a NUL character", parameter=field)
    return found


def _wrong(message: str) -> Problem:
    if missing := _MISSING.search(message):
        return Problem(422, f"{missing[1]}: is missing", parameter=missing[1])
    if unknown := _UNKNOWN.search(message):
        return Problem(422, f"{unknown[1]}: is no field here", parameter=unknown[1])
    where = _FIELD.search(message)
    path = where["path"] if where and where["path"] else "body"
    what = _FIELD.sub("", message).replace("`", "")
    # msgspec quotes the value of an enumeration, or the tag, that it does not know.
    unknown_value = what.startswith(("Invalid enum value", "Invalid value"))
    what = "is none of the known values" if unknown_value else what[:1].lower() + what[1:]
    return Problem(422, f"{path}: {what}", parameter=path)


def checked_address(text: str, parameter: str = "email") -> str:
    """An e-mail address that could be one, in Unicode's composed form; raises Problem 422."""
    address = unicodedata.normalize("NFC", text.strip())
    if len(address) > LONGEST_ADDRESS or not is_address(address):
        raise Problem(422, f"{parameter}: expected an e-mail address", parameter=parameter)
    return address


def is_address(text: str) -> bool:
    """Whether a text has the shape of an e-mail address."""
    return len(text) <= LONGEST_ADDRESS and text.isprintable() and _ADDRESS.fullmatch(text) is not None


def checked_name(text: str, parameter: str = "name") -> str:
    """A name of 1 to 200 printable characters, without blanks around it; raises Problem 422."""
    name = unicodedata.normalize("NFC", text.strip())
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise Problem(422, f"{parameter}: expected 1 to {LONGEST_NAME} printable characters", parameter=parameter)
    return name


def checked_zone(text: str, parameter: str = "time_zone") -> str:
    """An IANA time zone; raises Problem 422."""
    try:
        return str(calendar.zone(text))
    except calendar.UnknownZone:
        raise Problem(
            422, f"{parameter}: expected an IANA time zone such as Europe/Berlin", parameter=parameter
        ) from None
