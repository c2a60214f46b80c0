"""What a route is: its handler and all that the OpenAPI document and the access check need to know of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import NoneType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from aiohttp import web

from api.errors import Problem
from ingest.events.decode import explain

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Scope = Literal["read", "events:write", "any"]

ENCODER = msgspec.json.Encoder(decimal_format="number")
"""Writes answers: decimals as JSON numbers, every digit of them."""


@dataclass(frozen=True)
class Route:
    """One method and path. `scope` is what its caller must be allowed ('any': signed in is enough; None: open to all)."""

    method: str
    path: str
    handler: Handler
    summary: str
    scope: Scope | None = "read"
    query: type[msgspec.Struct] | None = None
    body: Any = None
    answer: Any = None
    media: str = "application/json"
    status: int = 200
    tags: tuple[str, ...] = ()
    errors: tuple[int, ...] = field(default=())
    also: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """Answers of another shape, by status and media type: those of a success beside `answer`, those of a failure instead of a problem."""
    takes: tuple[str, ...] = ("application/json",)
    """The media types of `body`."""
    identifiers: bool = False
    """Whether what stands in the path's places are UUIDs."""
    anonymous: bool = False
    """Whether credentials are not even looked at: for what must answer whatever is sent along."""
    limited: bool = True
    """Whether requests count for their caller's limit. What load balancers ask does not: all their callers would share it."""
    organization: str | None = None
    """The query parameter that names the organization to act for, as the header X-Organization-ID does."""
    kinds: tuple[str, ...] | Callable[[web.Request], tuple[str, ...]] = ()
    """The kinds of events whose commits change the answer of a GET, which is then kept (api.cache); none: it is not kept.

    Such an answer depends on the caller's organization and what the caller may see, the path, the parameters, `Accept`, the
    service's clock and the organization's rows, and on nothing else.
    """
    personal: bool = False
    """Whether a kept answer shows something to its caller that others of the same role and organization do not see."""


def json_answer(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer with exact numbers."""
    return web.Response(body=ENCODER.encode(value), status=status, content_type="application/json", headers=headers)


_T = TypeVar("_T", bound=msgspec.Struct)


def described(*examples: str, enum: Sequence[str] = (), pattern: str = "") -> msgspec.Meta:
    """What a text parameter may be, for the document alone: its handler checks it, and says more of what is wrong than a schema can."""
    schema: dict[str, Any] = {"enum": list(enum)} if enum else {"pattern": pattern} if pattern else {}
    return msgspec.Meta(examples=list(examples) or None, extra_json_schema=schema or None)


def parse_query(request: web.Request, shape: type[_T]) -> _T:
    """The query parameters as a typed value; raises Problem 400 that names the wrong one.

    A field of a list type takes a repeated parameter; of any other parameter that stands twice nobody could say which is meant.
    """
    fields = {f.encode_name: f for f in msgspec.structs.fields(shape)}
    values: dict[str, Any] = {}
    for name in request.query:
        if name not in fields:
            raise Problem(
                400, f"{name[:64]}: is not a parameter here; known are {', '.join(fields)}", parameter=name[:64]
            )
        many = request.query.getall(name)
        repeatable = get_origin(fields[name].type) is list
        if len(many) > 1 and not repeatable:
            raise Problem(400, f"{name}: stands more than once", parameter=name)
        if any("\x00" in value for value in many):
            raise Problem(400, f"{name}: holds a NUL character", parameter=name)
        values[name] = many if repeatable else many[0]
    try:
        given = msgspec.structs.asdict(msgspec.convert(values, _given(shape), strict=False))
    except msgspec.ValidationError as error:
        text = explain(str(error))
        raise Problem(400, text, parameter=text.partition(":")[0]) from None
    return shape(**{name: value for name, value in given.items() if value is not msgspec.UNSET})


@cache
def _given(shape: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The shape with every parameter that is there of its own type: the text `null` must not be taken for one that is absent."""
    fields: list[tuple[str, Any, Any]] = []
    for field_ in msgspec.structs.fields(shape):
        kinds = tuple(kind for kind in get_args(field_.type) if kind is not NoneType)
        kind = Union[kinds] if NoneType in get_args(field_.type) else field_.type  # noqa: UP007  (made of a tuple)
        default = msgspec.NODEFAULT if field_.required else msgspec.UNSET
        fields.append((field_.name, kind, msgspec.field(name=field_.encode_name, default=default)))
    return msgspec.defstruct(shape.__name__, fields, kw_only=True)
