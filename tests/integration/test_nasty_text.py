"""Every text that a route takes, by the OpenAPI document, filled with what breaks careless services: the answer is never a 5xx."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Iterable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import pytest
from yarl import URL

from api.app import VERSION, all_routes
from api.auth.tokens import OwnTokens
from api.openapi import document
from storage import identity
from tests.integration.api_service import SECRET, Api, utc_now
from tests.integration.people import new_address
from tests.integration.socket_client import connected
from tests.integration.test_route_roles import BODIES, filled_in

NASTY = [
    "",
    " ",
    "'",
    "'; drop table store.account; --",
    '" or 1=1 --',
    "%' or '%'='",
    "$1",
    "%s%(name)s{}{0}",
    "\\",
    "\\N",
    "<script>alert(1)</script>",
    "{{7*7}}${7*7}",
    "\x00",
    "a\x00b",
    "\r\nX-Injected: yes\r\n\r\n",
    "\x7f\x1b[31m",
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/passwd",
    "....//....//",
    "\u202egnp.exe",
    "\ufeff\u200b\u0000",
    "e\u0301" * 50,
    "\U0001f468\u200d\U0001f469" * 30,
    "ÅÄÖ ß ı İ",
    "-1",
    "0",
    "1e999",
    "9" * 400,
    "-9223372036854775809",
    "0x41",
    "NaN",
    "Infinity",
    "null",
    "true",
    "[]",
    "{}",
    "2026-13-45",
    "0000-00-00",
    "9999-12-31T23:59:59+14:00",
    "-infinity",
    "Europe/../etc/passwd",
    "Mars/Olympus",
    "a" * 7_000,
    ":,:,\\,\\:",
    "00000000-0000-0000-0000-000000000000",
    "0" * 36,
    "=cmd|' /C calc'!A0",
]
ENCODED = [
    "%00",
    "%ff%fe",
    "%ed%a0%80",
    "%c0%ae%c0%ae%2f",
    "%2e%2e%2f%2e%2e%2f",
    "%252e%252e%252f",
    "%u0041",
    "%",
    "%zz",
    "%f4%90%80%80",
]
"""As they stand in the address: bytes that are no text, a lone surrogate, overlong and doubled codings."""
RAW = [b"", b"\xff\xfe", b'"\xed\xa0\x80"', b"{", b"[" * 100_000, b'{"a":' * 50_000, b"nul\x00", b"1" * 5_000]
"""Bodies that are no JSON, or more of it than anybody means."""
MEGABYTE = "a" * 1_048_576
NEEDED = {
    "/api/v1/query": {"rollup": "trade_pnl"},
    "/api/v1/stream": {"rollup": "trade_pnl"},
    "/api/v1/events/sequence": {"type": "system", "source": "s"},
}


@pytest.fixture
async def owner(api: Api) -> tuple[Api, dict[str, str]]:
    """The service, and an owner, who may ask for more than a key."""
    api.clock.now = utc_now()
    account = await identity.create_account(api.services.database, new_address(), "hash")
    await identity.create_membership(api.services.database, account, api.organization, "owner")
    await api.send([api.system("web", cpu_usage=1), api.trade(utc_now(), "1"), api.view("like")])
    return api, {"Authorization": f"Bearer {OwnTokens(SECRET).issue(account, now=utc_now())}"}


def operations(api: Api) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Method, path, operation and schemas of every route of the document."""
    whole = json.loads(json.dumps(document(all_routes(api.services), VERSION)))
    for path, methods in whole["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation, whole["components"]["schemas"]


async def all_below_500(asked: Iterable[Awaitable[tuple[str, int, str]]]) -> int:
    """Asks a few at a time; returns how many were asked."""
    gate = asyncio.Semaphore(8)

    async def one(work: Awaitable[tuple[str, int, str]]) -> tuple[str, int, str]:
        async with gate:
            return await work

    found = await asyncio.gather(*(one(work) for work in asked))
    broken = [(what, status, text) for what, status, text in found if status >= 500 or status == 0]
    assert broken == [], (len(broken), broken[:5])
    return len(found)


async def answered(
    api: Api, method: str, target: str, headers: dict[str, str], body: bytes | None = None, what: str = ""
) -> tuple[str, int, str]:
    """What was asked, the status, and the beginning of the answer; a stream is not read. 0 where the connection broke."""
    sent = headers | ({"Content-Type": "application/json"} if body is not None else {})
    try:
        async with api.session.request(
            method,
            URL(api.url + target, encoded=True),
            headers=sent,
            data=None if body is None else io.BytesIO(body),
            allow_redirects=False,
        ) as answer:
            text = "" if answer.content_type == "text/event-stream" else (await answer.text(errors="replace"))[:300]
            assert "X-Injected" not in answer.headers
            return what or f"{method} {target[:300]}", answer.status, text
    except aiohttp.ServerDisconnectedError as error:
        return what or f"{method} {target[:300]}", 0, str(error)


async def test_every_parameter_of_every_route(owner: tuple[Api, dict[str, str]]) -> None:
    api, headers = owner
    asked = []
    for method, path, operation, _ in operations(api):
        body = json.dumps(BODIES[f"{method} {path}"]).encode() if f"{method} {path}" in BODIES else None
        plain = filled_in(f"{method} {path}", api.organization, None).partition("?")[0]
        needed = NEEDED.get(path, {})
        for parameter in operation.get("parameters", []):
            name = parameter["name"]
            for text in [quote(one, safe="") for one in NASTY] + ENCODED:
                if parameter["in"] == "path":
                    rest = path.partition(f"{{{name}")
                    target = filled_in(f"{method} {rest[0]}", api.organization, None).partition("?")[0] + text
                    tail = rest[2].partition("}")[2]
                    target += filled_in(f"{method} {tail}", api.organization, None).partition("?")[0]
                else:
                    others = urlencode({key: value for key, value in needed.items() if key != name})
                    target = f"{plain}?{others}{'&' if others else ''}{name}={text}"
                asked.append(answered(api, method, target, headers, body))
        # A name that is no parameter, and one of everything.
        asked += [answered(api, method, f"{plain}?{text}={text}", headers, body) for text in ENCODED]
    assert await all_below_500(asked) > 5_000


def strings(schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The fields of an object's schema."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    yield from schema.get("properties", {}).items()


async def test_every_field_of_every_body(owner: tuple[Api, dict[str, str]]) -> None:
    api, headers = owner
    asked = []
    texts: list[Any] = [*NASTY, "\ud800", "\udfff\ud800", 10**400, -(10**400), 1e308, [], {}, None, True, [[]] * 50]
    for method, path, operation, schemas in operations(api):
        if "requestBody" not in operation or path == "/api/v1/events":
            continue
        target = filled_in(f"{method} {path}", api.organization, None)
        good = BODIES.get(f"{method} {path}", {})
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        for name, _ in strings(schema, schemas):
            for text in texts:
                what = f"{method} {path} {name}={str(text)[:60]!a}"
                asked.append(answered(api, method, target, headers, json.dumps({**good, name: text}).encode(), what))
        asked += [answered(api, method, target, headers, raw, f"{method} {path} {raw[:20]!r}") for raw in RAW]
    assert await all_below_500(asked) > 1_500


async def test_every_text_of_every_event(owner: tuple[Api, dict[str, str]]) -> None:
    api, headers = owner
    templates = [
        api.system("web", cpu_usage=1),
        api.enterprise(green_score=1, team="ml"),
        api.trade(utc_now(), "1", strategy="s", fees="1"),
        api.view("like", session_id="s"),
    ]
    asked = []
    for template in templates:
        for text in [*NASTY, "\ud800", 10**400, None, [], {}]:
            asked += [{**template, name: text} for name in (*template, "sequence", "datacontenttype")]
            asked += [
                {**template, "id": api.event("system", {})["id"], "data": {**template["data"], name: text}}
                for name in template["data"]
            ]
            if isinstance(text, str):
                key = "metrics" if "metrics" in template["data"] else "unknown"
                asked.append({**template, "data": {**template["data"], key: {text: 1}}})
    bodies = [json.dumps(asked[at : at + 40]).encode() for at in range(0, len(asked), 40)]
    work = [answered(api, "POST", "/api/v1/events", headers, body, f"events {n}") for n, body in enumerate(bodies)]
    await all_below_500(work)
    work = [
        answered(api, "POST", "/api/v1/events", headers, json.dumps(one).encode())
        for one in asked[:: len(asked) // 300]
    ]
    await all_below_500(work)


async def test_a_megabyte_anywhere(owner: tuple[Api, dict[str, str]]) -> None:
    api, headers = owner
    asked = []
    for method, path, operation, schemas in operations(api):
        target = filled_in(f"{method} {path}", api.organization, None)
        if "requestBody" in operation and path != "/api/v1/events":
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            for name, _ in strings(schema, schemas):
                body = json.dumps({**BODIES.get(f"{method} {path}", {}), name: MEGABYTE}).encode()
                asked.append(answered(api, method, target, headers, body, f"{method} {path} {name}"))
    asked.append(answered(api, "GET", f"/users/{MEGABYTE}", headers))
    asked.append(answered(api, "GET", f"/api/v1/query?rollup={MEGABYTE}", headers))
    event = {**api.system("web", cpu_usage=1), "source": MEGABYTE}
    asked.append(answered(api, "POST", "/api/v1/events", headers, json.dumps(event).encode(), "a source"))
    await all_below_500(asked)


async def test_every_header_that_is_read(owner: tuple[Api, dict[str, str]]) -> None:
    api, headers = owner
    asked = []
    texts = [text for text in NASTY if text.isprintable() and text.isascii()] + [
        "é",
        "\udcff\udcfe",
        "W/",
        '"',
        ",,,,",
        "*",
    ]
    for name in (
        "Authorization",
        "X-API-Key",
        "X-Organization-ID",
        "If-None-Match",
        "Last-Event-ID",
        "Accept",
        "Accept-Encoding",
        "Cookie",
        "Origin",
        "Sec-Fetch-Site",
        "X-Request-ID",
        "X-Forwarded-For",
    ):
        for text in texts:
            values = (
                [text]
                if name != "Authorization"
                else [text, f"Bearer {text}", f"Bearer sg_{text}", f"Bearer a.{text}.b"]
            )
            for value in values:
                sent = {**headers, name: value}
                asked += [
                    answered(api, "GET", target, sent, what=f"{name}: {value[:60]!a}")
                    for target in ("/users/top", "/api/auth/me")
                ]
    await all_below_500(asked)


TRAVERSALS = [
    "/page/x/../../app.py",
    "/page/x/..%2f..%2fapp.py",
    "/page/x/%2e%2e/%2e%2e/app.py",
    "/page/..%2f..%2f/etc/passwd",
    "/page/x/%2fetc%2fpasswd",
    "/page/x/....//app.py",
    "/page/x/..%5c..%5capp.py",
    "/page/x/routes.py",
    "/page/x/__init__.py",
    "/page/x/page.js%00.py",
    "/page/x/page.css%2f..%2froutes.py",
    "/page/%2e%2e/routes.py",
    "/../../etc/passwd",
    "//etc/passwd",
    "/docs/../../etc/passwd",
    "/docs.css/../../../etc/passwd",
]


@pytest.mark.parametrize("target", TRAVERSALS)
async def test_no_path_leads_to_a_file(api: Api, target: str) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    # By hand: a client would tidy the path up before it is sent.
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = (await asyncio.wait_for(reader.read(), 10)).decode(errors="replace")
    writer.close()
    status = int(answer.split()[1])
    assert status in (308, 400, 401, 403, 404), answer[:500]
    for word in ("root:", "from __future__", "import aiohttp", "Traceback"):
        assert word not in answer


@pytest.mark.parametrize("path", ["/ws", "/ws/dashboard"])
async def test_nothing_said_on_a_socket_ends_in_an_internal_error(owner: tuple[Api, dict[str, str]], path: str) -> None:
    api, headers = owner
    said = [json.dumps({"type": text}) for text in [*NASTY, "\ud800"]]
    said += [json.dumps({"type": "subscribe", "topics": [text]}) for text in NASTY]
    said += [json.dumps({"type": "auth", "token": text, "organization_id": text}) for text in NASTY]
    said += ["", "{", "[" * 5_000, "null", "1e999", '"\\ud800"']
    for message in said:
        async with connected(api, path, headers=headers) as socket:
            await socket.next()
            await socket.socket.send_str(message)
            await socket.socket.close()
            assert socket.socket.close_code != 1011, message[:100]
    for message in said:
        # The first message of somebody who is not known.
        async with connected(api, path) as socket:
            await socket.socket.send_str(message)
            answer = await socket.socket.receive(10)
            assert answer.data != 1011, message[:100]
