"""JSON bodies of requests as typed values; an error names the field."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from aiohttp import web

from api.errors import Problem
from ingest.events.decode import explain

MOST_BYTES = 65_536

_T = TypeVar("_T")


async def parse_body(request: web.Request, shape: type[_T]) -> _T:
    """Raises Problem 413 for a large body, 415 for another type, 400 for what is no JSON, and 422 that names the wrong field."""
    if request.content_type != "application/json":
        raise Problem(415, "expected application/json")
    body = await request.content.read(MOST_BYTES + 1)
    while len(body) <= MOST_BYTES and (more := await request.content.read(MOST_BYTES + 1)):
        body += more
    if len(body) > MOST_BYTES:
        raise Problem(413, f"body: at most {MOST_BYTES} bytes are taken")
    try:
        value = msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        text = (
            explain(str(error)).replace("event: ", "body: ", 1).replace("a field of this kind of event", "known here")
        )
        raise Problem(422, text, parameter=text.partition(":")[0]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "body: is not valid JSON", parameter="body") from None
    for field, part in _texts(value):
        if "\x00" in part:
            raise Problem(422, f"{field}: holds a NUL character", parameter=field)
    return value


def _texts(value: Any) -> list[tuple[str, str]]:
    fields = msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else {}
    return [(name, part) for name, part in fields.items() if isinstance(part, str)]
