"""What goes over the WebSockets: every message is a JSON object with a `type`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from api.routing import ENCODER


class NotUnderstood(Exception):
    """A message that cannot be read; its text is for its sender."""


class Message(msgspec.Struct):
    """A client's message. Each type uses the fields that it knows."""

    type: str
    token: str | None = None
    organization_id: str | None = None
    topics: list[str] | None = None


_DECODER = msgspec.json.Decoder(Message)


def understood(text: str) -> Message:
    """The message; raises NotUnderstood."""
    try:
        return _DECODER.decode(text)
    except msgspec.ValidationError as error:
        raise NotUnderstood(f"{error}; a message is an object with a text `type`") from None
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise NotUnderstood("the message is not JSON") from None


def write(type_: str, data: Any) -> bytes:
    """A message of ours."""
    return ENCODER.encode({"type": type_, "data": data})


def wrapped(type_: str, body: bytes) -> bytes:
    """The same around data that is JSON already."""
    return b'{"type":"' + type_.encode() + b'","data":' + body + b"}"


def failure(message: str, known: Iterable[str] = ()) -> bytes:
    """An error; `known` names what would have been understood."""
    return write("error", {"message": message, **({"known": list(known)} if known else {})})
