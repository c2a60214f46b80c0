"""A small JSON body as a typed value."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from aiohttp import web

from api.errors import Problem
from ingest.events.decode import explain

MOST_BODY_BYTES = 16 * 1024

_T = TypeVar("_T", bound=msgspec.Struct)


async def read_json(request: web.Request, shape: type[_T], *, most_bytes: int = MOST_BODY_BYTES) -> _T:
    """The body; raises Problem 400, 413, 415 or 422, which names the field that is wrong."""
    if request.content_type != "application/json":
        raise Problem(415, "expected application/json")
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > most_bytes:
            raise Problem(413, f"this body has at most {most_bytes} bytes")
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        text = explain(str(error)).replace(
            "is not a field of this kind of event", "is not a field that can be set here"
        )
        text = f"body: {text.removeprefix('event: ')}" if text.startswith("event: ") else text
        raise Problem(422, text, parameter=text.partition(":")[0]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "the body is no JSON") from None
