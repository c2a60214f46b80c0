"""The OpenAPI 3.1 document, made from the routes and their types; and a page that shows it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from aiohttp import web

from api.errors import TITLES, APIError, ProblemDetails, of_video_feed
from api.routing import Route

_REF = "#/components/schemas/{name}"
_WITHOUT_BODY = (101, 204, 303)
_FRESH = {
    "ETag": {"description": "Another one only where the answer is another.", "schema": {"type": "string"}},
    "X-As-Of": {
        "description": "All that was accepted before is in the answer.",
        "schema": {"type": "string", "format": "date-time"},
    },
}


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The document of these routes."""
    types = list({id(shape): shape for route in routes for shape in _shapes(route) if shape is not None}.values())
    schemas, components = msgspec.json.schema_components([*types, ProblemDetails, APIError], ref_template=_REF)
    known = {id(shape): schema for shape, schema in zip(types, schemas, strict=False)}
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, known, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Streamgauge",
            "version": version,
            "description": "Streaming metrics, counted exactly once. Amounts are JSON numbers with every digit: read them as decimals.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or an access token."},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _shapes(route: Route) -> Iterator[Any]:
    yield from (route.query, route.body, route.answer)
    for shapes in route.also.values():
        yield from shapes.values()


def _operation(route: Route, known: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    name = route.method.lower() + "_" + re.sub(r"\W+", "_", route.path).strip("_")
    operation: dict[str, Any] = {
        "operationId": name.rstrip("_"),
        "summary": route.summary,
        "tags": list(route.tags),
    }
    if doc := (route.handler.__doc__ or "").strip():
        operation["description"] = doc
    identifier = {"type": "string", "format": "uuid"} if route.identifiers else {"type": "string", "minLength": 1}
    parameters: list[dict[str, Any]] = [
        {"name": part, "in": "path", "required": True, "schema": identifier}
        for part in re.findall(r"{(\w+)", route.path)
    ]
    if route.query is not None:
        shape = components[route.query.__name__]
        parameters += [
            {"name": part, "in": "query", "required": part in shape.get("required", ()), "schema": _present(schema)}
            for part, schema in shape["properties"].items()
        ]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {media: {"schema": known[id(route.body)]} for media in route.takes},
        }
    operation["responses"] = _responses(route, known)
    if route.scope is not None:
        operation["security"] = [{"bearer": []}, {"key": []}]
    return operation


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter that is there: what is left out is null to us, and no text stands for null."""
    some = {key: value for key, value in schema.items() if key != "default" or value is not None}
    if "anyOf" not in some:
        return some
    kinds = [kind for kind in some.pop("anyOf") if kind != {"type": "null"}]
    return {**some, **kinds[0]} if len(kinds) == 1 else {**some, "anyOf": kinds}


def _responses(route: Route, known: dict[int, Any]) -> dict[str, Any]:
    """Every answer there is, the usual one first."""
    reading = route.method == "GET" and route.scope == "read"
    usual: dict[str, Any] = {"description": "Done."}
    if route.status not in _WITHOUT_BODY:
        usual["content"] = {route.media: {} if route.answer is None else {"schema": known[id(route.answer)]}}
    responses = {str(route.status): usual}
    if route.kinds:
        usual["headers"] = _FRESH
        responses["304"] = {"description": "What `If-None-Match` names is still the answer.", "headers": _FRESH}
    failures = {
        *route.errors,
        *((400,) if route.query else ()),
        *((401, 403, 503) if route.scope else ()),
        *((504,) if reading else ()),
        *((429,) if route.limited else ()),
    }
    media, error = (
        ("application/json", APIError) if of_video_feed(route.path) else ("application/problem+json", ProblemDetails)
    )
    problem = {media: {"schema": {"$ref": _REF.format(name=error.__name__)}}}
    for status in sorted(failures):
        responses.setdefault(str(status), {"description": TITLES.get(status, "Error"), "content": {**problem}})
    for status, shapes in route.also.items():
        response = responses.setdefault(str(status), {"description": TITLES.get(status, "Done.")})
        response.setdefault("content", {}).update(
            {media: {"schema": known[id(shape)]} for media, shape in shapes.items()}
        )
    return responses


def docs_page(routes: Sequence[Route]) -> str:
    """A page of the routes that needs no script: what there is, who may, and its parameters."""
    sections = []
    for tag in sorted({tag for route in routes for tag in route.tags}):
        rows = "".join(_row(route) for route in routes if tag in route.tags)
        sections.append(f"<section><h2>{html.escape(tag)}</h2>{rows}</section>")
    return _PAGE.replace("{sections}", "".join(sections))


def _row(route: Route) -> str:
    access = {None: "open to all", "any": "signed in"}.get(route.scope, f"scope {route.scope}")
    fields = msgspec.structs.fields(route.query) if route.query is not None else ()
    names = " ".join(f"<code>{html.escape(field.encode_name)}</code>" for field in fields)
    about = html.escape(" ".join((route.query.__doc__ or "").split())) if route.query is not None else ""
    return (
        f"<article><h3><b class={route.method.lower()}>{route.method}</b> <code>{html.escape(route.path)}</code></h3>"
        f"<p>{html.escape(route.summary)}. <i>{html.escape(access)}</i></p>"
        + (f"<p class=q>{names}</p><p class=d>{about}</p>" if names else "")
        + "</article>"
    )


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Streamgauge API</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs.css"></head><body><main><h1>Streamgauge API</h1>
<p>Send <code>Authorization: Bearer &lt;API key&gt;</code>. The machine-readable form is
<a href="/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>{sections}</main></body></html>"""

POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load: its style sheet, and an icon that is none."""

STYLE = """:root{color-scheme:light dark;--line:#d9dee5;--dim:#5b6673;--tone:#2f5fd0}
@media(prefers-color-scheme:dark){:root{--line:#333c48;--dim:#9aa7b6;--tone:#86a8ff}}
body{font:16px/1.5 system-ui,sans-serif;margin:0}main{max-width:56rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.6rem}h2{font-size:1.1rem;margin:2.2rem 0 .4rem;text-transform:capitalize}
article{border-top:1px solid var(--line);padding:.7rem 0}h3{font-size:1rem;margin:0;font-weight:500}p{margin:.25rem 0}
b{display:inline-block;min-width:3.6rem;color:var(--tone)}i,.d{color:var(--dim);font-style:normal;font-size:.92rem}
.q code{background:color-mix(in srgb,var(--line) 45%,transparent);border-radius:4px;padding:.05rem .35rem;margin-right:.25rem}"""


def routes(others: Sequence[Route], version: str) -> list[Route]:
    """`/openapi.json` and `/docs`, which describe the others and themselves."""

    async def openapi_json(_: web.Request) -> web.StreamResponse:
        """This document."""
        return web.Response(body=body, content_type="application/json")

    async def docs(_: web.Request) -> web.StreamResponse:
        """The same for people."""
        return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": POLICY})

    async def style(_: web.Request) -> web.StreamResponse:
        """The docs page's style sheet."""
        return web.Response(text=STYLE, content_type="text/css")

    own = [
        Route("GET", "/openapi.json", openapi_json, "The OpenAPI document", scope=None, tags=("operations",)),
        Route("GET", "/docs", docs, "The documentation page", scope=None, media="text/html", tags=("operations",)),
        Route("GET", "/docs.css", style, "The documentation's style", scope=None, media="text/css"),
    ]
    body = msgspec.json.encode(document([*others, *own], version))
    page = docs_page([*others, *own])
    return own
