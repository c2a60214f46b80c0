"""Own accounts over HTTP: registering, RiskScan's walk-through, TradeFlow's sign-up, refresh tokens that are good once."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import jsonschema
import pytest

from api.auth.authenticate import Authenticator
from storage.accounts import change_password, disable, enable, find_profile_by_email
from storage.audit import Actor
from storage.database import Database
from tests.integration.api_service import SECRET, Api, Clock, running, utc_now
from tests.integration.people import PASSWORD, counting, invited, new_address, registered, say, served

TRADEFLOW_USER = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "email": {"type": "string"},
        "name": {"type": "string"},
        "plan": {"enum": ["free", "starter", "pro", "elite"]},
        "role": {"enum": ["user", "admin"]},
        "created_at": {"type": "string", "format": "date-time"},
    },
    "required": ["id", "email", "name", "plan", "role", "created_at"],
    "additionalProperties": False,
}
"""What TradeFlow's document saves of a user, and answers from `/auth/signup` and `/user/profile`."""
NO_ACCOUNT: list[tuple[Any, int, str | None]] = [
    ({"email": "x@example.com"}, 422, "password"),
    ({"password": PASSWORD}, 422, "email"),
    ({"email": "x@example.com", "password": "short6"}, 422, "password"),
    ({"email": "x@example.com", "password": "x" * 1025}, 422, "password"),
    *(
        ({"email": email, "password": PASSWORD}, 422, "email")
        for email in (
            "", "x", "x@", "@example.com", "x@example", "x y@example.com", "x@exam ple.com", "x@@example.com",
            "x@-example.com", "x@example.com\x00", "x@example.com\n.org", "x" * 65 + "@example.com",
            "x@" + "y" * 64 + ".com", "x@" + "example." * 40 + "com", "<x@example.com>", "x\u202e@example.com",
        )
    ),
    ({"email": ["x@example.com"], "password": PASSWORD}, 422, "email"),
    ({"email": "x@example.com", "password": PASSWORD, "name": ""}, 422, "name"),
    ({"email": "x@example.com", "password": PASSWORD, "name": "x" * 201}, 422, "name"),
    ({"email": "x@example.com", "password": PASSWORD, "name": "a\x00b"}, 422, "name"),
    ([], 422, "body"),
    ({"email": "x@example.com", "password": "x" * 20_000}, 413, None),
]  # fmt: skip


@pytest.fixture
async def api(service_database: str) -> AsyncIterator[Api]:
    """The whole service, now."""
    async with running(service_database, clock=Clock(utc_now()), refreshing=False) as service:
        yield service


async def refreshed(api: Api, token: str) -> tuple[int, Any]:
    reply = await say(api, "POST", "/api/auth/refresh", {"refresh_token": token})
    return reply.status, reply.json


async def actions(database: Database, **where: str) -> list[str]:
    """What the audit trail says of somebody, in order."""
    async with database.owner() as connection:
        cursor = await connection.execute(
            "select action from store.audit where actor = %(actor)s or subject = %(actor)s order by id", where
        )
        return [action for (action,) in await cursor.fetchall()]


async def test_riskscans_walk_through(api: Api) -> None:
    """The three commands of its document, as curl sends them."""
    async with api.session.post(
        api.url + "/api/auth/register", json={"email": "test@test.com", "password": "test123"}
    ) as answer:
        assert answer.status == 201
        account = await answer.json()
    assert set(account) == {"id", "email", "name", "created_at", "organization_id"}
    assert account["email"] == "test@test.com"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with api.session.post(
        api.url + "/api/auth/login", data=b"username=test@test.com&password=test123", headers=form
    ) as answer:
        assert answer.status == 200
        token = await answer.json()
    assert (token["token_type"], token["expires_in"], token["refresh_expires_in"]) == ("bearer", 1800, 30 * 86_400)
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    me = (await say(api, "GET", "/api/auth/me", headers=headers)).json
    assert (me["account"], me["email"], me["role"]) == (account["id"], "test@test.com", "owner")
    assert me["organization"] == {"id": account["organization_id"], "name": "test", "demo": False}


async def test_an_access_token_lasts_as_long_as_is_set(api: Api) -> None:
    ada = await registered(api)
    five = Authenticator(api.services.database, SECRET, token_lifetime=timedelta(minutes=5), now=lambda: api.clock.now)
    async with served(api, authenticator=five) as short:
        tokens = (await say(short, "POST", "/api/auth/login", {"email": ada.email, "password": PASSWORD})).json
        verified = await five.tokens.verify(tokens["access_token"])
    assert tokens["expires_in"] == 300
    assert abs(verified.expires_at - api.clock.now - timedelta(minutes=5)) < timedelta(seconds=1)


async def test_who_registers_owns_an_organization_of_their_own_and_sees_nobody_elses(api: Api) -> None:
    await api.send([api.system("zq-host", cpu_usage=1)])
    ada, ben = await registered(api), await registered(api)
    for person in (ada, ben):
        reply = await person.ask("GET", "/api/v1/query?rollup=system_metrics&group_by=host")
        assert (reply.status, reply.json["rows"]) == (200, [])
        assert (
            await person.ask("GET", "/api/v1/query?rollup=system_metrics", within=str(api.organization))
        ).status == 403
    assert ada.organization != ben.organization
    assert (await ada.ask("GET", "/api/auth/me", within=ben.organization)).status == 403


async def test_an_account_that_cannot_be_is_refused_with_the_field_and_without_its_value(api: Api) -> None:
    for body, status, parameter in NO_ACCOUNT:
        reply = await say(api, "POST", "/api/auth/register", body)
        assert (reply.status, reply.json.get("parameter")) == (status, parameter), (body, reply.text)
        assert "example" not in reply.text
        assert PASSWORD not in reply.text
    for kind, sent, status in (
        ("text/plain", b"{}", 415),
        ("application/json", b"{", 400),
        ("application/json", b"", 400),
    ):
        async with api.session.post(
            api.url + "/api/auth/register", data=sent, headers={"Content-Type": kind}
        ) as answer:
            assert answer.status == status


async def test_an_address_is_taken_in_any_case_and_in_any_form_of_its_letters(api: Api) -> None:
    address = new_address("zo\u00eb")
    await registered(api, address)
    for again in (address, address.upper(), f" {address} ", address.replace("\u00eb", "e\u0308")):
        reply = await say(api, "POST", "/api/auth/register", {"email": again, "password": PASSWORD})
        assert (reply.status, reply.json["parameter"]) == (409, "email"), again
        reply = await say(api, "POST", "/api/auth/login", {"email": again, "password": PASSWORD})
        assert reply.status == 200, again


async def test_of_many_who_register_an_address_at_once_one_does(api: Api) -> None:
    body = {"email": new_address(), "password": PASSWORD}
    replies = await asyncio.gather(*(say(api, "POST", "/api/auth/register", body) for _ in range(6)))
    assert sorted(reply.status for reply in replies) == [201] + [409] * 5
    async with api.services.database.owner() as connection:
        cursor = await connection.execute(
            "select count(*) from store.membership m join store.account a on a.id = m.account where a.email = %s",
            (body["email"],),
        )
        assert await cursor.fetchone() == (1,)


async def test_how_many_may_register_from_one_place_is_bounded(api: Api) -> None:
    taken = (await registered(api)).email
    body = {"email": taken, "password": PASSWORD}
    statuses = []
    for _ in range(3):
        replies = await asyncio.gather(*(say(api, "POST", "/api/auth/register", body) for _ in range(10)))
        statuses += [reply.status for reply in replies]
    assert sorted(statuses) == [409] * 29 + [429]
    reply = await say(api, "POST", "/api/auth/register", {"email": new_address(), "password": PASSWORD})
    assert (reply.status, 0 < int(reply.headers["Retry-After"]) <= 600) == (429, True)


async def test_where_registration_is_closed_only_who_is_invited_registers(api: Api) -> None:
    owner = await registered(api)
    async with served(api, open_registration=False) as shut:
        email = new_address()
        reply = await say(shut, "POST", "/api/auth/register", {"email": email, "password": PASSWORD})
        assert reply.status == 403
        body = {"email": email, "password": PASSWORD, "name": "Ben", "plan": "pro"}
        assert (await say(shut, "POST", "/api/unify/v1/auth/signup", body)).status == 403
        reply = await say(shut, "POST", "/api/auth/register", {"email": email, "password": PASSWORD, "invitation": "x"})
        assert reply.status == 410
        ben = await registered(shut, email, invitation=await invited(owner, email))
        assert ben.organization == owner.organization
        assert (await ben.me())["role"] == "member"


async def test_tradeflows_sign_up_and_profile(api: Api) -> None:
    body = {"email": new_address(), "password": PASSWORD, "name": "Ada", "plan": "pro"}
    reply = await say(api, "POST", "/api/unify/v1/auth/signup", body)
    assert reply.status == 201
    shape = {
        "type": "object",
        "properties": {"success": {"const": True}, "user": TRADEFLOW_USER},
        "required": ["success", "user"],
        "additionalProperties": False,
    }
    check = jsonschema.FormatChecker(["uuid", "date-time"])
    jsonschema.validate(reply.json, shape, format_checker=check)
    user = reply.json["user"]
    assert (user["email"], user["name"], user["plan"], user["role"]) == (body["email"], "Ada", "pro", "user")
    tokens = (await say(api, "POST", "/api/auth/login", {"email": body["email"], "password": PASSWORD})).json
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    profile = await say(api, "GET", "/api/unify/v1/user/profile", headers=headers)
    jsonschema.validate(profile.json, TRADEFLOW_USER, format_checker=check)
    assert profile.json == user
    # A plan that was only asked for opens nothing.
    mine = (await say(api, "GET", "/api/v1/organizations", headers=headers)).json["organizations"][0]
    assert (mine["subscription_tier"], mine["max_users"]) == ("basic", 10)
    for wrong in ({"plan": "platinum"}, {"name": None}):
        reply = await say(api, "POST", "/api/unify/v1/auth/signup", {**body, "email": new_address(), **wrong})
        assert (reply.status, reply.json["parameter"]) == (422, next(iter(wrong)))
    assert (await api.get("/api/unify/v1/user/profile")).status == 403
    assert (await say(api, "GET", "/api/unify/v1/user/profile")).status == 401


async def test_the_ways_to_sign_in_are_open_to_all(api: Api) -> None:
    reply = await say(api, "GET", "/api/v1/auth/oauth/providers", headers={"Authorization": "Bearer expired"})
    assert reply.status == 200
    assert reply.json == {"providers": [{"name": "password", "type": "password", "login": "/api/auth/login"}]}


async def test_a_refresh_token_gives_the_next_and_is_good_once(api: Api) -> None:
    ada = await registered(api)
    status, next_ = await refreshed(api, ada.refresh)
    assert (status, next_["expires_in"]) == (200, 1800)
    assert (
        await say(api, "GET", "/api/auth/me", headers={"Authorization": f"Bearer {next_['access_token']}"})
    ).status == 200
    status, last = await refreshed(api, next_["refresh_token"])
    assert status == 200
    # The first comes again: somebody else has it, and the family ends with its newest token.
    assert (await refreshed(api, ada.refresh))[0] == 401
    assert (await refreshed(api, last["refresh_token"]))[0] == 401
    assert (await actions(api.services.database, actor=ada.email))[-1] == "refresh.reuse"
    # Another sign-in is another family.
    assert (await say(api, "POST", "/api/auth/login", {"email": ada.email, "password": PASSWORD})).status == 200


async def test_of_many_that_refresh_with_one_token_at_once_one_wins_and_the_family_ends(api: Api) -> None:
    ada = await registered(api)
    for at_once in (2, 8):
        tokens = (await say(api, "POST", "/api/auth/login", {"email": ada.email, "password": PASSWORD})).json
        found = await asyncio.gather(*(refreshed(api, tokens["refresh_token"]) for _ in range(at_once)))
        assert sorted(status for status, _ in found) == [200] + [401] * (at_once - 1)
        won = next(answer for status, answer in found if status == 200)
        assert (await refreshed(api, won["refresh_token"]))[0] == 401
    # Told once a family, not once a token.
    assert (await actions(api.services.database, actor=ada.email)).count("refresh.reuse") == 2


async def test_what_is_no_refresh_token_is_refused_in_the_same_words(api: Api) -> None:
    ada = await registered(api)
    answers = set()
    used = ada.refresh
    next_ = (await refreshed(api, used))[1]["refresh_token"]
    for token in ("", "x", "é" * 64, "A" * 64, "=" * 64, ada.access, next_[:-1], next_ + "A", used):
        reply = await say(api, "POST", "/api/auth/refresh", {"refresh_token": token})
        answers.add((reply.status, reply.text, reply.headers["WWW-Authenticate"]))
    assert len(answers) == 1
    assert answers.pop()[0] == 401
    for body in ({}, {"refresh_token": 1}, {"refresh_token": None}):
        reply = await say(api, "POST", "/api/auth/refresh", body)
        assert (reply.status, reply.json["parameter"]) == (422, "refresh_token")


async def test_a_refresh_token_ends_by_its_age_and_each_new_one_lasts_as_long(api: Api) -> None:
    ada = await registered(api)
    api.clock.now += timedelta(days=29)
    status, next_ = await refreshed(api, ada.refresh)
    assert status == 200
    api.clock.now += timedelta(days=29)
    status, last = await refreshed(api, next_["refresh_token"])
    assert status == 200
    api.clock.now += timedelta(days=30)
    assert (await refreshed(api, last["refresh_token"]))[0] == 401


async def test_logout_ends_the_family_of_the_token_that_is_sent(api: Api) -> None:
    ada = await registered(api)
    other = (await say(api, "POST", "/api/auth/login", {"email": ada.email, "password": PASSWORD})).json
    # With an access token that has expired meanwhile, too.
    reply = await say(
        api, "POST", "/api/auth/logout", {"refresh_token": ada.refresh}, headers={"Authorization": "Bearer old"}
    )
    assert reply.status == 204
    assert (await refreshed(api, ada.refresh))[0] == 401
    assert (await say(api, "POST", "/api/auth/logout", {"refresh_token": "nonsense"})).status == 204
    assert (await say(api, "POST", "/api/auth/logout")).status == 204
    assert (await refreshed(api, other["refresh_token"]))[0] == 200


async def test_the_page_gets_a_cookie_and_no_refresh_token(api: Api) -> None:
    ada = await registered(api)
    login = {"email": ada.email, "password": PASSWORD, "session": True}
    reply = await say(api, "POST", "/api/auth/login", login, headers={"Sec-Fetch-Site": "same-origin"})
    assert (reply.json["refresh_token"], reply.json["refresh_expires_in"]) == (None, None)
    assert "streamgauge_session" in reply.headers["Set-Cookie"]


def told(api: Api) -> Actor:
    return Actor(None, "command line", None, api.clock.now)


async def test_a_disabled_account_is_out_within_a_second_and_in_again_when_enabled(api: Api) -> None:
    ada = await registered(api)
    seconds = [0.0]
    async with (
        served(api, authenticator=counting(api, seconds)) as slow,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser,
    ):
        here = dataclasses.replace(ada, api=slow)
        login = {"email": ada.email, "password": PASSWORD, "session": True}
        same = {"Sec-Fetch-Site": "same-origin"}
        async with browser.post(slow.url + "/api/auth/login", json=login, headers=same) as answer:
            assert answer.status == 200
        profile = await find_profile_by_email(api.services.database, ada.email.upper())
        assert profile is not None
        assert (await here.ask("GET", "/api/auth/me")).status == 200
        await disable(api.services.database, profile, told(api))
        seconds[0] += 1.0
        assert (await here.ask("GET", "/api/auth/me")).status == 401
        async with browser.get(slow.url + "/api/auth/me") as answer:
            assert answer.status == 401
    assert (await refreshed(api, ada.refresh))[0] == 401
    wrong = await say(api, "POST", "/api/auth/login", {"email": ada.email, "password": "wrong password"})
    right = await say(api, "POST", "/api/auth/login", {"email": ada.email, "password": PASSWORD})
    assert (right.status, right.text) == (wrong.status, wrong.text) == (401, wrong.text)
    await enable(api.services.database, profile, told(api))
    assert (await say(api, "POST", "/api/auth/login", {"email": ada.email, "password": PASSWORD})).status == 200
    assert (await refreshed(api, ada.refresh))[0] == 401


async def test_a_new_password_ends_what_the_old_one_opened(api: Api) -> None:
    ada = await registered(api)
    profile = await find_profile_by_email(api.services.database, ada.email)
    assert profile is not None
    await change_password(api.services.database, profile, await api.services.passwords.hash("another one"), told(api))
    assert (await refreshed(api, ada.refresh))[0] == 401
    assert (await say(api, "POST", "/api/auth/login", {"email": ada.email, "password": PASSWORD})).status == 401
    assert (await say(api, "POST", "/api/auth/login", {"email": ada.email, "password": "another one"})).status == 200
