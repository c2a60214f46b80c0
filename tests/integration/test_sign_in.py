"""Signing in over HTTP: passwords, links, the page's session and how it is kept from other sites."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from storage import identity, sessions
from tests.integration.identity_service import PASSWORD, SAME_ORIGIN, Service, body, running, status

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
NONSENSE: list[tuple[dict[str, Any], int]] = [
    ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400),
    ({"data": b"username=%ff&password=x", "headers": FORM}, 400),
    ({"data": b"username=a&username=b&password=x", "headers": FORM}, 400),
    ({"data": b"username=a", "headers": FORM}, 422),
    ({"data": b"", "headers": FORM}, 422),
    ({"json": {"password": "x"}}, 422),
    ({"json": {"username": "a", "email": "b", "password": "x"}}, 422),
    ({"json": {"username": ["a"], "password": "x"}}, 422),
    ({"json": {"username": "a", "password": "x" * 1025}}, 422),
    ({"json": {"username": "a" * 321, "password": "x"}}, 422),
    ({"json": []}, 422),
    ({"json": {"username": "a", "password": "x" * 20_000}}, 413),
    ({"data": b"username=a&password=x", "headers": {"Content-Type": "text/plain"}}, 415),
    ({"data": b"username=a&password=x", "headers": {"Content-Type": FORM["Content-Type"] + "; charset=x"}}, 401),
]
WHERE_FROM: list[tuple[dict[str, str], bool]] = [
    ({}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, False),
    ({"Origin": "http://evil.example"}, False),
    ({"Origin": "http://localhost.evil.example"}, False),
    ({"Origin": "null"}, False),
    ({"Origin": "http://localhost"}, True),
    ({"Origin": "https://LOCALHOST"}, True),
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
]


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[Service]:
    async with running(database_url) as service:
        yield service


@pytest.mark.parametrize(
    "login",
    [
        {"json": {"username": "ada@example.com", "password": PASSWORD}},
        {"json": {"email": " ADA@example.com ", "password": PASSWORD}},
        {"data": {"grant_type": "password", "username": "ada@example.com", "password": PASSWORD, "scope": ""}},
    ],
    ids=["json", "json e-mail", "form"],
)
async def test_a_password_gives_a_token_and_the_token_says_who(service: Service, login: dict[str, Any]) -> None:
    client = service.browser()
    async with client.post("/api/auth/login", **login) as answer:
        assert answer.status == 200
        assert "Set-Cookie" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"
        token = await answer.json()
    assert (token["token_type"], token["expires_in"]) == ("bearer", 1800)
    acme = {"id": str(service.acme), "name": "Acme", "demo": False}
    assert await body(client, headers={"Authorization": f"bearer {token['access_token']}"}) == {
        "account": str(service.ada),
        "email": "ada@example.com",
        "name": "Ada",
        "role": "owner",
        "scopes": ["events:write", "read"],
        "organization": acme,
        "organizations": [acme | {"role": "owner"}],
    }


async def test_unknown_user_and_wrong_password_get_the_same_answer(service: Service) -> None:
    answers = []
    for email in ("ada@example.com", "nobody@example.com", "nobody\x00@example.com"):
        async with service.browser().post("/api/auth/login", json={"email": email, "password": "wrong"}) as answer:
            headers = {name: value for name, value in answer.headers.items() if name != "Date"}
            answers.append((answer.status, headers, await answer.text()))
    assert answers[0][0] == 401
    assert answers == [answers[0]] * 3


async def test_the_sixth_failure_in_a_minute_is_told_to_wait_even_with_the_right_password(service: Service) -> None:
    client = service.browser()
    for _ in range(5):
        assert (
            await status(client, "/api/auth/login", method="POST", json={"email": "ada@example.com", "password": ""})
            == 401
        )
    right = {"email": "ADA@example.com", "password": PASSWORD}
    async with client.post("/api/auth/login", json=right) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "60")
    assert await status(client, "/api/auth/login", method="POST", json=right | {"email": "root@example.com"}) == 200
    service.clock.seconds += 60
    assert await status(client, "/api/auth/login", method="POST", json=right) == 200


async def test_a_login_that_makes_no_sense_is_refused(service: Service) -> None:
    client = service.browser()
    for sent, expected in NONSENSE:
        assert await status(client, "/api/auth/login", method="POST", **sent) == expected, sent


async def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(service: Service) -> None:
    login = {"username": "ada@example.com", "password": PASSWORD, "session": True}
    for extra, secure in (({}, False), ({"X-Forwarded-Proto": "https"}, True)):
        async with service.browser().post("/api/auth/login", json=login, headers=SAME_ORIGIN | extra) as answer:
            cookie = answer.cookies["streamgauge_session"]
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
        assert bool(cookie["secure"]) is secure
        assert cookie["max-age"] == str(30 * 24 * 3600)
    assert await status(service.browser(), "/api/auth/login", method="POST", json=login) == 403


async def test_a_session_lasts_as_long_as_the_page_is_used_and_ends_by_signing_out(service: Service) -> None:
    browser = await service.signed_in()
    service.clock.now += timedelta(days=29)
    async with browser.get("/api/auth/me") as answer:
        assert answer.status == 200
        assert answer.cookies["streamgauge_session"]["max-age"] == str(30 * 24 * 3600)
    service.clock.now += timedelta(days=29)
    assert await status(browser) == 200
    token = {"Cookie": f"streamgauge_session={next(iter(browser.cookie_jar)).value}"}
    assert await status(service.browser(), headers=token) == 200
    assert await status(browser, "/api/auth/logout", method="POST", headers=SAME_ORIGIN) == 204
    assert list(browser.cookie_jar) == []
    assert await status(service.browser(), headers=token) == 401


async def test_the_cookie_of_an_ended_session_does_not_keep_anybody_from_signing_in(service: Service) -> None:
    browser = await service.signed_in()
    service.clock.now += timedelta(days=31)
    assert await status(browser) == 401
    login = {"username": "ada@example.com", "password": PASSWORD, "session": True}
    assert await status(browser, "/api/auth/login", method="POST", json=login, headers=SAME_ORIGIN) == 200
    assert await status(browser) == 200


async def test_another_site_cannot_act_with_the_cookie(service: Service) -> None:
    browser = await service.signed_in()
    for headers, ours in WHERE_FROM:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert await status(browser, "/anything", method=method, headers=headers) == (200 if ours else 403), headers
        assert await status(browser, "/anything", headers=headers) == 200
        if not ours:
            assert await status(browser, "/api/auth/logout", method="POST", headers=headers) == 403


async def test_the_page_switches_its_session_where_it_may(service: Service) -> None:
    browser = await service.signed_in()

    async def switch(to: Any, client: aiohttp.ClientSession = browser, headers: dict[str, str] = SAME_ORIGIN) -> int:
        path = "/api/v1/session/organization"
        return await status(client, path, method="POST", json={"organization_id": to}, headers=headers)

    assert await switch(str(service.other)) == 403
    assert await switch(str(uuid4())) == 403
    assert await switch("other") == 422
    assert await switch(str(service.other), service.browser(), await service.token()) == 409
    assert (await body(browser))["organization"]["name"] == "Acme"
    await identity.create_membership(service.database, service.ada, service.other, "member")
    assert await switch(str(service.other)) == 200
    me = await body(browser)
    assert (me["organization"]["name"], me["role"]) == ("Other", "member")
    # The header goes past the session, for one request.
    again = await body(browser, headers={"X-Organization-ID": str(service.acme)})
    assert (again["organization"]["name"], again["role"]) == ("Acme", "owner")


async def test_a_sign_in_link_works_once(service: Service) -> None:
    await sessions.create_sign_in_link(service.database, "link", service.ada, service.acme, now=service.clock.now)
    browser = service.browser()
    async with browser.get("/signin?token=link", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert (await body(browser))["email"] == "ada@example.com"
    await sessions.create_sign_in_link(service.database, "late", service.ada, service.acme, now=service.clock.now)
    service.clock.now += sessions.LINK_LIFETIME
    for query in ("?token=link", "?token=late", "?token=%00", "?token=%C3%A9", "?token=" + "x" * 200, "?token=", ""):
        stranger = service.browser()
        async with stranger.get(f"/signin{query}") as answer:
            assert (answer.status, answer.content_type) == (410, "text/html")
            assert 'href="/"' in await answer.text()
        assert list(stranger.cookie_jar) == []
