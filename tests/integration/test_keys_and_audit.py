"""API keys and the audit trail over HTTP: shown once, revoked everywhere, used when; who did what, and never a secret."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import psycopg
import pytest
import structlog
from psycopg import sql

from storage.audit import KEPT, prune_audit
from storage.sessions import prune_expired
from tests.integration.api_service import Api, Clock, running, utc_now
from tests.integration.people import PASSWORD, Person, counting, invited, joined, new_address, registered, say, served
from tests.integration.test_organizations import admin_of


@pytest.fixture
async def api(service_database: str) -> AsyncIterator[Api]:
    """The whole service, now."""
    async with running(service_database, clock=Clock(utc_now()), refreshing=False) as service:
        yield service


async def key_of(person: Person, *scopes: str, name: str = "Key") -> Any:
    reply = await person.ask("POST", "/api/v1/api-keys", {"name": name, "scopes": list(scopes) or ["read"]})
    assert reply.status == 201, reply.text
    return reply.json


async def keys(person: Person) -> list[Any]:
    reply = await person.ask("GET", "/api/v1/api-keys")
    assert reply.status == 200, reply.text
    listed: list[Any] = reply.json["api_keys"]
    return listed


async def entries(person: Person, query: str = "") -> list[Any]:
    """The audit trail as the person sees it, the oldest first, once all that was noted is written."""
    await person.api.services.authenticator.arrivals.settled()
    reply = await person.ask("GET", f"/api/v1/audit?limit=200{query}")
    assert reply.status == 200, reply.text
    found: list[Any] = reply.json["entries"][::-1]
    return found


async def test_a_key_is_shown_once_and_does_what_its_scopes_say(api: Api) -> None:
    ada = await registered(api)
    made = await key_of(ada, "events:write", name="Collector")
    assert made["key"].startswith(f"sg_{made['prefix']}_")
    api.clock.now += timedelta(seconds=1)
    reading = await key_of(ada, "read")
    listed = await keys(ada)
    assert [(one["name"], one["scopes"]) for one in listed] == [("Key", ["read"]), ("Collector", ["events:write"])]
    assert all("key" not in one and "digest" not in one for one in listed)
    event = [{**api.system("web"), "data": {"host": "web", "metrics": {"cpu_usage": 1}}}]
    write, read = ({"X-API-Key": one["key"]} for one in (made, reading))
    assert (await say(api, "POST", "/api/v1/events", event, headers=write)).status == 202
    assert (await say(api, "POST", "/api/v1/events", event, headers=read)).status == 403
    assert (await say(api, "GET", "/api/v1/query?rollup=system_metrics", headers=read)).status == 200
    assert (await say(api, "GET", "/api/v1/query?rollup=system_metrics", headers=write)).status == 403
    # A key makes no keys.
    body = {"name": "k", "scopes": ["read"]}
    assert (await say(api, "POST", "/api/v1/api-keys", body, headers=read)).status == 403


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"name": "k", "scopes": []}, "scopes"),
        ({"name": "k", "scopes": ["admin"]}, "scopes[0]"),
        ({"name": "k", "scopes": ["read", "read", "read"]}, "scopes"),
        ({"name": "k"}, "scopes"),
        ({"name": "", "scopes": ["read"]}, "name"),
        ({"name": "k", "scopes": ["read"], "organization": str(uuid4())}, "organization"),
    ],
)
async def test_a_key_that_cannot_be_is_refused(api: Api, body: Any, parameter: str) -> None:
    reply = await (await registered(api)).ask("POST", "/api/v1/api-keys", body)
    assert (reply.status, reply.json["parameter"]) == (422, parameter), reply.text


async def test_a_revoked_key_stops_everywhere_within_a_second(api: Api) -> None:
    ada, ben = await registered(api), await registered(api)
    made = await key_of(ada)
    seconds, headers = [0.0], {"X-API-Key": made["key"]}
    async with served(api, authenticator=counting(api, seconds)) as other:
        assert (await say(other, "GET", "/api/auth/me", headers=headers)).status == 200
        for who, key in ((ben, made["id"]), (ada, str(uuid4())), (ada, "nonsense")):
            assert (await who.ask("DELETE", f"/api/v1/api-keys/{key}")).status == 404
        assert (await say(other, "GET", "/api/auth/me", headers=headers)).status == 200
        reply = await ada.ask("DELETE", f"/api/v1/api-keys/{made['id']}")
        assert (reply.status, reply.json["revoked_at"] is not None) == (200, True)
        seconds[0] += 1.0
        assert (await say(other, "GET", "/api/auth/me", headers=headers)).status == 401
    api.clock.now += timedelta(seconds=5)
    again = (await ada.ask("DELETE", f"/api/v1/api-keys/{made['id']}")).json
    assert again == reply.json
    assert [one["revoked_at"] for one in await keys(ada)] == [reply.json["revoked_at"]]
    assert [one["action"] for one in await entries(ada)].count("key.revoke") == 1


async def test_when_a_key_was_used_is_written_once_a_minute(api: Api) -> None:
    ada = await registered(api)
    made = await key_of(ada)
    seconds, headers, noted = [0.0], {"X-API-Key": made["key"]}, []
    async with served(api, authenticator=counting(api, seconds)) as other:
        for passed in (0, 1, 30, 28, 1, 59, 1):
            seconds[0] += passed
            api.clock.now += timedelta(seconds=passed)
            await say(other, "GET", "/api/auth/me", headers=headers)
            await other.services.authenticator.arrivals.settled()
            noted.append((await keys(ada))[0]["last_used_at"])
        first, second, third = noted[0], noted[4], noted[6]
        assert noted == [first, first, first, first, second, second, third]
        assert None is not first < second < third
        # Another process, which has not written yet, does not write within the minute either.
        async with served(api, authenticator=counting(api, seconds)) as more:
            api.clock.now += timedelta(seconds=30)
            await say(more, "GET", "/api/auth/me", headers=headers)
            await more.services.authenticator.arrivals.settled()
        assert (await keys(ada))[0]["last_used_at"] == third


async def test_the_trail_tells_who_did_what(api: Api) -> None:
    ada, root = await registered(api), await admin_of(api)
    ben = await joined(ada)
    await say(api, "POST", "/api/auth/login", {"email": ben.email.upper(), "password": "a wrong one"})
    key = await key_of(ada, name="Collector")
    await ada.ask("DELETE", f"/api/v1/api-keys/{key['id']}")
    members = f"/api/v1/organizations/{ada.organization}/members/{ben.id}"
    await ada.ask("PATCH", members, {"role": "owner"})
    await ada.ask("PATCH", members, {"role": "owner"})
    await ada.ask("DELETE", members)
    await ada.ask("PATCH", f"/api/v1/organizations/{ada.organization}", {"name": "Renamed"})
    await root.ask("PATCH", f"/api/v1/organizations/{ada.organization}", {"subscription_tier": "pro"})
    for _ in range(2):
        await say(api, "POST", "/api/auth/refresh", {"refresh_token": ada.refresh})
    found = await entries(ada)
    assert [(one["action"], one["actor"], one["subject"]) for one in found] == [
        ("organization.create", ada.email, ada.email.partition("@")[0]),
        ("account.register", ada.email, ada.email),
        ("sign_in", ada.email, ada.email),
        ("invitation.create", ada.email, ben.email),
        ("invitation.accept", ben.email, ben.email),
        ("account.register", ben.email, ben.email),
        ("sign_in", ben.email, ben.email),
        ("sign_in.fail", ben.email, ben.email),
        ("key.create", ada.email, key["prefix"]),
        ("key.revoke", ada.email, key["prefix"]),
        ("member.role", ada.email, ben.email),
        ("member.remove", ada.email, ben.email),
        ("organization.change", ada.email, None),
        ("organization.tier", root.email, "pro"),
        ("refresh.reuse", ada.email, ada.email),
    ]
    assert {(one["address"], one["organization"]) for one in found} == {("127.0.0.1", ada.organization)}
    by_action = {one["action"]: one for one in found}
    assert by_action["sign_in.fail"]["details"] == {"reason": "password"}
    assert by_action["sign_in.fail"]["account"] == ben.id
    assert by_action["key.create"]["details"] == {"name": "Collector", "scopes": ["read"]}
    assert by_action["organization.tier"]["details"] == {"before": "basic"}

    first = (await ada.ask("GET", "/api/v1/audit?limit=10")).json
    second = (await ada.ask("GET", f"/api/v1/audit?limit=10&cursor={first['cursor']}")).json
    assert (first["entries"] + second["entries"], second["cursor"]) == (found[::-1], None)
    assert [one["action"] for one in await entries(ada, "&action=sign_in")] == ["sign_in", "sign_in"]


async def test_the_trail_of_one_is_not_anothers_and_what_is_nobodys_is_the_admins(api: Api) -> None:
    ada, ben, root = await registered(api), await registered(api), await admin_of(api)
    unknown = new_address("nobody")
    for email in (unknown, "hunter2 is my password"):
        await say(api, "POST", "/api/auth/login", {"email": email, "password": "wrong"})
    assert ben.email not in str(await entries(ada))
    reply = await ada.ask("GET", "/api/v1/audit?of=deployment")
    assert (reply.status, reply.json["parameter"]) == (403, "of")
    whole = await entries(root, "&of=deployment")
    assert {ada.email, ben.email, unknown} <= {one["actor"] for one in whole}
    failed = [one for one in whole if one["action"] == "sign_in.fail"][-2:]
    assert [(one["organization"], one["actor"], one["details"]["reason"]) for one in failed] == [
        (None, unknown, "address"),
        (None, None, "address"),
    ]
    assert "hunter2" not in str(whole)


async def test_to_enter_an_organization_by_its_header_is_written_once_a_minute(api: Api) -> None:
    ada, root = await registered(api), await admin_of(api)
    api.clock.now = api.clock.now.replace(second=10)
    seconds = [0.0]
    async with served(api, authenticator=counting(api, seconds)) as one, served(api) as other:
        for service in (one, one, other):
            here = dataclasses.replace(root, api=service)
            assert (await here.ask("GET", "/api/auth/me", within=ada.organization)).status == 200
            await service.services.authenticator.arrivals.settled()
            # Where one starts is not entered by its name.
            assert (
                await dataclasses.replace(ada, api=service).ask("GET", "/api/auth/me", within=ada.organization)
            ).status == 200
            await service.services.authenticator.arrivals.settled()
        assert [(e["actor"], e["details"]) for e in await entries(ada, "&action=organization.enter")] == [
            (root.email, {"role": "admin"})
        ]
        seconds[0] += 60
        api.clock.now += timedelta(minutes=1)
        await dataclasses.replace(root, api=one).ask("GET", "/api/auth/me", within=ada.organization)
        await one.services.authenticator.arrivals.settled()
        assert len(await entries(ada, "&action=organization.enter")) == 2


async def test_to_enter_an_organization_in_the_page_is_written(api: Api) -> None:
    ada, root = await registered(api), await admin_of(api)
    login = {"email": root.email, "password": PASSWORD, "session": True}
    headers = {"Sec-Fetch-Site": "same-origin"}
    async with aiohttp.ClientSession(api.url, cookie_jar=aiohttp.CookieJar(unsafe=True), headers=headers) as browser:
        async with browser.post("/api/auth/login", json=login) as answer:
            assert answer.status == 200
        where = {"organization_id": ada.organization}
        async with browser.post("/api/v1/session/organization", json=where) as answer:
            assert answer.status == 200
        async with browser.get("/api/auth/me", headers={"X-Organization-ID": ada.organization}) as answer:
            assert answer.status == 200
    assert [(e["actor"], e["details"]) for e in await entries(ada, "&action=organization.enter")] == [(root.email, {})]


async def test_failures_beyond_a_number_are_counted_rather_than_written(api: Api) -> None:
    seconds = [0.0]
    arrivals = counting(api, seconds).arrivals
    who = new_address("flood")
    for _ in range(75):
        arrivals.failed(None, who, "192.0.2.1", "address")
    seconds[0] += 60
    arrivals.failed(None, who, "192.0.2.1", "address")
    await arrivals.settled()
    root = await admin_of(api)
    mine = [one for one in await entries(root, "&of=deployment") if one["actor"] == who]
    assert len(mine) == 61
    assert [one["details"] for one in mine if "left_out" in one["details"]] == [{"reason": "address", "left_out": 15}]


async def test_old_entries_and_expired_tokens_are_pruned(api: Api) -> None:
    ada = await registered(api)
    await invited(ada, new_address())
    before = len(await entries(ada))
    assert before >= 3
    database, now = api.services.database, api.clock.now
    await prune_audit(database, now=now + KEPT - timedelta(minutes=1))
    assert len(await entries(ada)) == before
    assert await prune_audit(database, now=now + KEPT + timedelta(minutes=1)) >= before
    assert await entries(ada) == []
    assert await prune_expired(database, now=now + timedelta(days=31)) >= 2
    assert (await say(api, "POST", "/api/auth/refresh", {"refresh_token": ada.refresh})).status == 401


async def test_no_secret_is_in_the_database_the_logs_or_an_answer(
    api: Api, service_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything that somebody could sign in with, looked for as text and as bytes in every table, and in all that is printed."""
    password = "Tr0ub4dor-and-3-horses"
    email = new_address()
    replies = []
    with structlog.testing.capture_logs() as logs:
        replies.append(await say(api, "POST", "/api/auth/register", {"email": email, "password": password}))
        replies.append(await say(api, "POST", "/api/auth/register", {"email": email, "password": password}))
        login = {"email": email, "password": password}
        tokens = (await say(api, "POST", "/api/auth/login", login)).json
        await say(api, "POST", "/api/auth/login", {"email": password, "password": email})
        ada = Person(
            api, email, replies[0].json["id"], replies[0].json["organization_id"],
            tokens["access_token"], tokens["refresh_token"],
        )  # fmt: skip
        following = (await say(api, "POST", "/api/auth/refresh", {"refresh_token": ada.refresh})).json
        replies.append(await say(api, "POST", "/api/auth/refresh", {"refresh_token": ada.refresh}))
        key = (await key_of(ada))["key"]
        await say(api, "GET", "/api/auth/me", headers={"X-API-Key": key})
        replies.append(await say(api, "GET", "/api/auth/me", headers={"X-API-Key": key + "x"}))
        invitation = await invited(ada, new_address())
        replies += [await ada.ask("GET", "/api/v1/audit"), await ada.ask("GET", "/api/v1/api-keys")]
        await api.services.authenticator.arrivals.settled()
    secrets = [
        password,
        ada.access,
        ada.refresh,
        following["refresh_token"],
        following["access_token"],
        key,
        invitation,
    ]
    printed = capsys.readouterr()
    with psycopg.connect(service_database, autocommit=True) as connection:
        tables = connection.execute(
            "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind in ('r', 'p') and n.nspname in ('store', 'app', 'public')"
        ).fetchall()
        assert ("store", "audit") in tables
        stored = [
            str(row)
            for schema, name in tables
            for row in connection.execute(
                sql.SQL("select t::text from {} as t").format(sql.Identifier(schema, name))
            ).fetchall()
        ]
    everything = "\n".join([*stored, str(logs), printed.out, printed.err, *(reply.text for reply in replies)])
    assert email in everything
    for secret in secrets:
        assert secret not in everything, secret
        assert secret.encode().hex() not in everything, secret
