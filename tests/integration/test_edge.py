"""What browsers and hostile callers meet: origins, security headers, foreign sites, nonsense of every kind."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.app import all_routes
from api.cors import Cors
from api.edge import Edge
from api.headers import DEFAULTS, strict_transport
from storage import identity, sessions
from tests.integration.api_service import QUICK, Api, Reply, running, utc_now

FRONT = "https://app.example.com"
STATS = "/api/v1/dashboard/stats"
WITHOUT_COOKIE = {"/api/auth/register", "/api/unify/v1/auth/signup", "/api/auth/refresh"}
"""Routes that change something and never look at the cookie: they work the same whoever sends them."""


@pytest.fixture
async def api(service_database: str) -> AsyncIterator[Api]:
    """A service that one other site's pages may use, and that people reach over https."""
    edge = Edge(cors=Cors([FRONT, "http://localhost:3000"]), always=strict_transport("https://gauge.example.com"))
    async with running(service_database, edge=edge) as service:
        yield service


def opened(reply: Reply) -> bool:
    """Whether the answer may be read by the front end's pages, with everything that goes with it."""
    headers = reply.headers
    if "Access-Control-Allow-Origin" not in headers:
        assert not any(name.lower().startswith("access-control") for name in headers)
        return False
    assert headers["Access-Control-Allow-Origin"] == FRONT
    assert headers["Access-Control-Allow-Credentials"] == "true"
    return True


async def test_every_answer_can_be_read_by_the_named_origin_and_by_no_other(api: Api) -> None:
    first = await api.get(STATS)
    cases: list[tuple[str, str, dict[str, str], int]] = [
        ("GET", STATS, {}, 200),
        ("GET", STATS, {}, 200),
        ("GET", STATS, {"If-None-Match": first.headers["ETag"]}, 304),
        ("GET", STATS, {"If-None-Match": first.headers["ETag"]}, 304),
        ("GET", STATS, {"Authorization": "Bearer nonsense"}, 401),
        ("GET", "/api/v1/query", {}, 400),
        ("GET", "/nothing", {}, 404),
        ("DELETE", STATS, {}, 405),
        ("GET", "/health", {}, 200),
        ("GET", "/ws", {}, 426),
        ("GET", "/users/top", {}, 200),
    ]
    for method, path, headers, status in cases:
        for origin, readable in ((FRONT, True), ("https://evil.example", False), ("null", False), (None, False)):
            sent = headers if origin is None else {**headers, "Origin": origin}
            reply = await api.request(method, path, headers=sent)
            assert (reply.status, opened(reply)) == (status, readable), (path, origin)
            assert "Origin" in ", ".join(reply.headers.getall("Vary")), path
            assert reply.headers["Strict-Transport-Security"] == "max-age=31536000"
            if readable:
                shown = reply.headers["Access-Control-Expose-Headers"].split(", ")
                assert {
                    "X-As-Of",
                    "ETag",
                    "X-Request-ID",
                    "Retry-After",
                    "RateLimit-Remaining",
                    "X-Next-Cursor",
                } <= set(shown)
    async with api.stream(mode="events", headers={"Origin": FRONT}) as stream:
        assert stream.answer.headers["Access-Control-Allow-Origin"] == FRONT


async def test_a_preflight_is_answered_for_every_route(api: Api) -> None:
    methods: dict[str, set[str]] = {}
    for route in all_routes(api.services):
        methods.setdefault(route.path, set()).add(route.method)
    asked = {"Access-Control-Request-Headers": "authorization, x-api-key, last-event-id, x-evil, content-type"}
    for path, known in methods.items():
        place = re.sub(r"{\w+[^}]*}", "1", path)
        for method in known:
            headers = {"Access-Control-Request-Method": method, **asked}
            async with api.session.options(api.url + place, headers={**headers, "Origin": FRONT}) as answer:
                assert (answer.status, await answer.read()) == (204, b""), place
                assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
                allowed = set(answer.headers["Access-Control-Allow-Headers"].split(", "))
                assert allowed == {"authorization", "x-api-key", "last-event-id", "content-type"}
                assert answer.headers["Access-Control-Allow-Origin"] == FRONT
                assert answer.headers["Access-Control-Allow-Credentials"] == "true"
                assert int(answer.headers["Access-Control-Max-Age"]) > 0
            async with api.session.options(
                api.url + place, headers={**headers, "Origin": "https://evil.example"}
            ) as answer:
                assert answer.status == 405
                assert "Access-Control-Allow-Origin" not in answer.headers


async def test_every_answer_has_the_headers_that_browsers_heed(api: Api) -> None:
    for path in (
        STATS,
        STATS,
        "/health",
        "/nothing",
        "/api/v1/query",
        "/openapi.json",
        "/docs",
        "/",
        "/docs.css",
        "/signin",
    ):
        reply = await api.get(path)
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        if path not in ("/", "/docs"):
            assert policy == DEFAULTS["Content-Security-Policy"]
        for name in ("X-Frame-Options", "Permissions-Policy", "Cross-Origin-Resource-Policy"):
            assert reply.headers[name] == DEFAULTS[name]
        assert reply.headers["Referrer-Policy"] in ("no-referrer", "same-origin")
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert len(reply.headers.getall("Content-Security-Policy")) == 1
    docs = await api.get("/docs")
    assert " style=" not in docs.text
    assert "<style" not in docs.text


async def test_without_settings_nothing_is_said_of_other_sites_or_https(service_database: str) -> None:
    async with running(service_database) as api:
        for _ in range(2):
            reply = await api.get(STATS, headers={"Origin": FRONT})
            assert not opened(reply)
            assert "Strict-Transport-Security" not in reply.headers
    assert strict_transport("http://gauge.example.com") == strict_transport(None) == {}


async def cookie(api: Api, email: str) -> dict[str, str]:
    """The session cookie of an owner."""
    account = await identity.create_account(api.services.database, email, QUICK.hash("right"))
    await identity.create_membership(api.services.database, account, api.organization, "owner")
    api.clock.now = utc_now()
    token = f"session-of-{email}"
    await sessions.create_browser_session(api.services.database, token, account, api.organization, now=api.clock.now)
    return {"Cookie": f"streamgauge_session={token}"}


async def test_no_other_site_changes_anything_with_the_cookie_by_any_route(api: Api) -> None:
    session = await cookie(api, "csrf@example.com")
    foreign = [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
        {},
    ]
    changing = [route for route in all_routes(api.services) if route.method != "GET"]
    assert len(changing) > 10
    for route in changing:
        path = re.sub(r"{\w+[^}]*}", "1", route.path)
        for headers in foreign:
            options: dict[str, Any] = {"json": {}, "headers": {**session, **headers}, "cookies": {}}
            async with api.session.request(route.method, api.url + path, **options) as answer:
                if route.path in WITHOUT_COOKIE:
                    assert answer.status in (415, 422), (route.path, answer.status)
                    assert "Set-Cookie" not in answer.headers
                else:
                    assert answer.status == 403, (route.method, route.path, headers, answer.status)
    # They all go on to what they do for our own page, and for the one that the settings name.
    for ours in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": FRONT, "Sec-Fetch-Site": "cross-site"}):
        async with api.session.post(api.url + "/api/v1/stream/tickets", headers={**session, **ours}) as answer:
            assert answer.status == 200, ours


async def test_reading_with_the_cookie_changes_nothing_of_ours(api: Api) -> None:
    """Another site can make a browser ask by GET: nothing that it could ask for is a change."""
    session = await cookie(api, "get@example.com")
    async with api.services.database.owner() as connection:
        counts = ", ".join(f"(select count(*) from store.{table})" for table in ("audit", "api_key", "membership"))
        rows = f"select {counts}"
        before = await (await connection.execute(rows)).fetchone()
    for route in all_routes(api.services):
        if route.method == "GET" and route.media != "text/event-stream":
            path = re.sub(r"{\w+[^}]*}", "1", route.path)
            async with api.session.get(
                api.url + path, headers={**session, "Sec-Fetch-Site": "cross-site"}, allow_redirects=False
            ) as answer:
                assert answer.status < 500, path
    async with api.services.database.owner() as connection:
        assert await (await connection.execute(rows)).fetchone() == before


NONSENSE = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "%0d%0aSet-Cookie:%20a=b",
    "%ff%fe",
    "%ed%a0%80",
    "A" * 3_000,
    "' or 1=1--",
    "{{7*7}}",
    "%F0%9F%92%A9",
    ".",
]
"""Ways out of a folder, NUL, ends of lines, bytes that are no text, and what means something to somebody else."""


async def test_no_path_and_no_parameter_breaks_anything(api: Api) -> None:
    """Every route with nonsense in its path and in its parameters: refused or answered, never a failure of ours."""
    statuses = set()
    for route in all_routes(api.services):
        if route.media == "text/event-stream":
            continue
        for nonsense in NONSENSE:
            paths = [re.sub(r"{\w+[^}]*}", lambda _, text=nonsense: text, route.path)] if "{" in route.path else []  # type: ignore[misc]
            paths.append(
                re.sub(r"{\w+[^}]*}", "1", route.path) + f"?{nonsense}={nonsense}&from={nonsense}&limit={nonsense}"
            )
            for path in paths:
                status = await raw(api, route.method, path)
                assert 200 <= status < 500, (route.method, path, status)
                statuses.add(status)
    assert statuses >= {400, 404}
    assert (await api.get("/health")).status == 200


async def raw(api: Api, method: str, path: str, *lines: bytes) -> int:
    """The status of what is sent as it is, or 0 where the connection is closed without an answer."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n".encode("latin-1")
        authorization = f"Authorization: {api.headers['Authorization']}\r\n".encode()
        writer.write(head + authorization + b"".join(line + b"\r\n" for line in lines) + b"Content-Length: 0\r\n\r\n")
        async with asyncio.timeout(10):
            first = await reader.readline()
            if not first:
                return 0
            rest = await reader.read()
        assert b"aiohttp" not in rest
        assert b"Traceback" not in rest
        assert b"\r\nset-cookie: a=b" not in rest.lower()
        if int(first.split()[1]) >= 400:
            assert b"\r\nx-content-type-options: nosniff" in rest.lower()
        return int(first.split()[1])
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([b"X-Large: " + b"a" * 9_000], 400),
        ([b"X-Many-%d: a" % number for number in range(200)], 400),
        ([b"X-Bad: a\x00b"], 400),
        ([b"X Bad: a"], 400),
        ([b"Transfer-Encoding: chunked"], 400),
        ([b"Content-Length: 5"], 400),
        ([b"Authorization: Bearer other"], 400),
        ([b"X-Organization-ID: \xff"], 400),
        ([b"Origin: https://app.example.com", b"Accept: " + b"*/*," * 1_500], 200),
        ([b"Cookie: " + b"a=b; " * 1_500], 200),
        ([b"X-Forwarded-For: " + b"1," * 3_000], 200),
    ],
    ids=lambda value: None if isinstance(value, int) else value[0][:24].decode("latin-1"),
)
async def test_a_hostile_head_is_refused(api: Api, lines: list[bytes], status: int) -> None:
    assert await raw(api, "GET", "/api/auth/me", *lines) == status
    assert (await api.get("/health")).status == 200


async def test_what_is_no_http_is_told_so_and_not_logged(
    api: Api, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert await raw(api, "GE T", "/") == 400
    assert await raw(api, "GET", "/" + "a" * 9_000) == 400
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\x16\x03\x01\x02\x00secret\x00\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert b'"detail":"the request cannot be read as HTTP' in answer
    assert "secret" not in capsys.readouterr().out + caplog.text
