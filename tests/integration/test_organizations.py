"""Organizations over HTTP: who may do what in which, the last owner, invitations, limits; and others' organizations do not exist."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from storage import identity
from tests.integration.api_service import Api, Clock, running, utc_now
from tests.integration.people import PASSWORD, Person, invited, joined, new_address, registered, say, served


@pytest.fixture
async def api(service_database: str) -> AsyncIterator[Api]:
    """The whole service, now."""
    async with running(service_database, clock=Clock(utc_now()), refreshing=False) as service:
        yield service


async def admin_of(api: Api) -> Person:
    """The deployment's admin."""
    email = new_address("root")
    hashed = await api.services.passwords.hash(PASSWORD)
    account = await identity.create_account(api.services.database, email, hashed, deployment_admin=True)
    tokens = (await say(api, "POST", "/api/auth/login", {"email": email, "password": PASSWORD})).json
    return Person(api, email, str(account), "", tokens["access_token"], tokens["refresh_token"])


def at(organization: str, rest: str = "") -> str:
    return f"/api/v1/organizations/{organization}{rest}"


async def members(owner: Person) -> dict[str, str]:
    """Role by account."""
    reply = await owner.ask("GET", at(owner.organization, "/members"))
    assert reply.status == 200, reply.text
    return {one["account"]: one["role"] for one in reply.json["members"]}


async def test_an_organization_is_made_read_changed_and_listed_by_its_owner(api: Api) -> None:
    ada = await registered(api)
    reply = await ada.ask("POST", "/api/v1/organizations", {"name": " Second ", "time_zone": "Europe/Berlin"})
    made = reply.json
    assert (reply.status, made["name"], made["time_zone"], made["role"]) == (201, "Second", "Europe/Berlin", "owner")
    assert [made[name] for name in ("subscription_tier", "max_users", "max_models", "max_comparisons_per_month")] == [
        "basic", 10, 100, 1000,
    ]  # fmt: skip
    api.clock.now += timedelta(seconds=1)
    reply = await ada.ask("PATCH", at(made["id"]), {"name": "Third", "time_zone": "Asia/Kathmandu"})
    assert (reply.json["name"], reply.json["time_zone"]) == ("Third", "Asia/Kathmandu")
    assert reply.json["updated_at"] > made["updated_at"]
    assert (await ada.ask("PATCH", at(made["id"]), {})).json == reply.json
    assert (await ada.ask("GET", at(made["id"]))).json == reply.json

    first, second = [(await ada.ask("GET", f"/api/v1/organizations?limit=1&page={page}")).json for page in (1, 2)]
    assert (first["total"], first["page"], first["limit"]) == (2, 1, 1)
    assert [first["organizations"][0]["id"], second["organizations"][0]["id"]] == [ada.organization, made["id"]]
    assert (await ada.ask("GET", "/api/v1/organizations?page=3&limit=1")).json["organizations"] == []
    for query in ("page=0", "limit=201", "limit=x", "sort=name"):
        reply = await ada.ask("GET", f"/api/v1/organizations?{query}")
        assert (reply.status, reply.json["parameter"]) == (400, query.partition("=")[0])

    # Its zone is the zone of its days.
    reply = await ada.ask("GET", "/api/v1/query?rollup=system_metrics&grain=1d", within=made["id"])
    assert reply.json["tz"] == "Asia/Kathmandu"


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": None}, "name"),
        ({"time_zone": "Berlin"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"naem": "x"}, "naem"),
        ({"max_users": 1_000}, "max_users"),
    ],
)
async def test_a_change_that_makes_no_sense_names_its_field(api: Api, body: Any, parameter: str) -> None:
    ada = await registered(api)
    reply = await ada.ask("PATCH", at(ada.organization), body)
    assert (reply.status, reply.json["parameter"]) == (422, parameter)
    reply = await ada.ask("POST", "/api/v1/organizations", {"name": "x", **body})
    assert (reply.status, reply.json["parameter"]) == (422, parameter)


async def test_others_organizations_and_none_are_told_in_the_same_words(api: Api) -> None:
    """Every path and method, by somebody who is in neither: nothing is done, and nothing tells the two apart."""
    ada, ben = await registered(api), await registered(api)
    member = await joined(ada)
    calls = [
        ("GET", "", None),
        ("PATCH", "", {"name": "Taken"}),
        ("PATCH", "", {"subscription_tier": "elite"}),
        ("GET", "/members", None),
        ("PATCH", f"/members/{member.id}", {"role": "owner"}),
        ("PATCH", f"/members/{ben.id}", {"role": "owner"}),
        ("DELETE", f"/members/{member.id}", None),
        ("DELETE", f"/members/{ben.id}", None),
        ("POST", "/invitations", {"email": ben.email}),
        ("GET", "/invitations", None),
        ("DELETE", f"/invitations/{uuid4()}", None),
    ]
    for method, rest, body in calls:
        answers = set()
        for organization in (ada.organization, str(uuid4()), "nonsense"):
            reply = await ben.ask(method, at(organization, rest), body)
            answers.add((reply.status, reply.text))
        assert len(answers) == 1, (method, rest, answers)
        assert answers.pop()[0] == 404
    for path in ("/api/v1/api-keys", "/api/v1/audit", "/api/v1/organizations"):
        answers = {
            ((reply := await ben.ask("GET", path, within=organization)).status, reply.text)
            for organization in (ada.organization, str(uuid4()))
        }
        assert len(answers) == 1
        assert answers.pop()[0] == 403
    assert await members(ada) == {ada.id: "owner", member.id: "member"}
    # An API key manages nothing, its own organization either.
    for method, rest, body in calls[1:]:
        assert (await api.request(method, at(str(api.organization), rest), json=body)).status == 403, (method, rest)
    assert (await api.get(at(str(api.organization)))).json["role"] == "key"
    assert (await api.get(at(ada.organization))).status == 404


async def test_a_member_reads_and_does_not_manage(api: Api) -> None:
    ada = await registered(api)
    ben = await joined(ada)
    assert (await ben.ask("GET", at(ada.organization))).json["role"] == "member"
    shown = {
        one["account"]: one["email"] for one in (await ben.ask("GET", at(ada.organization, "/members"))).json["members"]
    }
    assert shown == {ada.id: None, ben.id: ben.email}
    for method, path, body in (
        ("PATCH", at(ada.organization), {"name": "Ben's"}),
        ("PATCH", at(ada.organization, f"/members/{ben.id}"), {"role": "owner"}),
        ("DELETE", at(ada.organization, f"/members/{ada.id}"), None),
        ("POST", at(ada.organization, "/invitations"), {"email": new_address()}),
        ("GET", at(ada.organization, "/invitations"), None),
        ("DELETE", at(ada.organization, f"/invitations/{uuid4()}"), None),
        ("POST", "/api/v1/api-keys", {"name": "k", "scopes": ["read"]}),
        ("GET", "/api/v1/api-keys", None),
        ("DELETE", f"/api/v1/api-keys/{uuid4()}", None),
        ("GET", "/api/v1/audit", None),
    ):
        assert (await ben.ask(method, path, body)).status == 403, (method, path)
    # But goes by themselves.
    assert (await ben.ask("DELETE", at(ada.organization, f"/members/{ben.id}"))).status == 204
    assert await members(ada) == {ada.id: "owner"}


async def test_the_last_owner_stays_whoever_tries(api: Api) -> None:
    ada, root = await registered(api), await admin_of(api)
    ben = await joined(ada)
    path = at(ada.organization, f"/members/{ada.id}")
    for person in (ada, root):
        assert (await person.ask("DELETE", path)).status == 409
        assert (await person.ask("PATCH", path, {"role": "member"})).status == 409
    assert (await ada.ask("PATCH", at(ada.organization, f"/members/{ben.id}"), {"role": "owner"})).status == 204
    # An owner who cannot sign in is none.
    async with api.services.database.owner() as connection:
        await connection.execute("update store.account set disabled_at = now() where id = %s", (ben.id,))
    assert (await ada.ask("PATCH", path, {"role": "member"})).status == 409
    async with api.services.database.owner() as connection:
        await connection.execute("update store.account set disabled_at = null where id = %s", (ben.id,))
    # Both at once try to go, in two processes: one of them stays.
    async with served(api) as other:
        there = dataclasses.replace(ben, api=other)
        statuses = await asyncio.gather(
            ada.ask("DELETE", path), there.ask("DELETE", at(ada.organization, f"/members/{ben.id}"))
        )
    assert sorted(reply.status for reply in statuses) == [204, 409]
    assert list((await members(dataclasses.replace(root, organization=ada.organization))).values()) == ["owner"]


async def test_somebody_who_is_taken_out_or_made_an_owner_is_so_everywhere(api: Api) -> None:
    ada = await registered(api)
    ben = await joined(ada)
    path = at(ada.organization, f"/members/{ben.id}")
    assert (await ada.ask("PATCH", path, {"role": "owner"})).status == 204
    assert (await ben.ask("PATCH", at(ada.organization), {"name": "Ours"})).status == 200
    assert (await ada.ask("DELETE", path)).status == 204
    assert (await ben.ask("PATCH", at(ada.organization), {"name": "Mine"})).status in (401, 404)
    for account in (ben.id, str(uuid4()), "nonsense"):
        for method, body in (("DELETE", None), ("PATCH", {"role": "owner"})):
            assert (await ada.ask(method, at(ada.organization, f"/members/{account}"), body)).status == 404
    reply = await ada.ask("PATCH", at(ada.organization, f"/members/{ada.id}"), {"role": "admin"})
    assert (reply.status, reply.json["parameter"]) == (422, "role")


async def test_an_invitation_lets_its_address_in_once_within_seven_days(api: Api) -> None:
    ada, ben, eve = await registered(api), await registered(api), await registered(api)
    token = await invited(ada, ben.email.upper(), "owner")

    async def accept(who: Person, text: str) -> int:
        return (await who.ask("POST", "/api/v1/invitations/accept", {"token": text})).status

    assert await accept(eve, token) == 410
    assert await accept(ben, token + "x") == 410
    found = await asyncio.gather(*(accept(ben, token) for _ in range(4)))
    assert sorted(found) == [200, 410, 410, 410]
    assert await members(ada) == {ada.id: "owner", ben.id: "owner"}
    me = await ben.me()
    assert [one["role"] for one in me["organizations"]] == ["owner", "owner"]
    # Where somebody starts, and where their events go, stays what it was, although the other organization is older.
    assert me["organization"]["id"] == ben.organization

    late = await invited(ada, eve.email)
    api.clock.now += timedelta(days=7)
    assert await accept(dataclasses.replace(eve, access=_signed(api, eve)), late) == 410
    api.clock.now -= timedelta(days=7)

    # A second one replaces the first, and one that is withdrawn is none.
    old = await invited(ada, eve.email)
    new = await invited(ada, eve.email)
    listed = (await ada.ask("GET", at(ada.organization, "/invitations"))).json
    assert (listed["total"], [one["email"] for one in listed["invitations"]]) == (1, [eve.email])
    assert not {"token", "digest"} & set(listed["invitations"][0])
    assert await accept(eve, old) == 410
    gone = at(ada.organization, f"/invitations/{listed['invitations'][0]['id']}")
    assert [(await ada.ask("DELETE", gone)).status for _ in range(2)] == [204, 404]
    assert await accept(eve, new) == 410
    # To accept again what one is in already changes nothing.
    assert await accept(ben, await invited(ada, ben.email, "member")) == 200
    assert (await members(ada))[ben.id] == "owner"


def _signed(api: Api, person: Person) -> str:
    return api.services.authenticator.tokens.issue(UUID(person.id), now=utc_now())


async def test_who_registers_by_an_invitation_has_no_organization_of_their_own(api: Api) -> None:
    ada = await registered(api)
    ben = await joined(ada)
    assert [one["id"] for one in (await ben.me())["organizations"]] == [ada.organization]
    token = await invited(ada, new_address())
    reply = await say(
        api, "POST", "/api/auth/register", {"email": new_address(), "password": PASSWORD, "invitation": token}
    )
    assert (reply.status, reply.json["parameter"]) == (410, "invitation")


async def test_a_subscription_bounds_the_members_and_only_the_admin_changes_it(api: Api) -> None:
    ada, root = await registered(api), await admin_of(api)
    path = at(ada.organization)
    reply = await ada.ask("PATCH", path, {"subscription_tier": "enterprise", "name": "Cheap"})
    assert (reply.status, reply.json["parameter"]) == (403, "subscription_tier")
    assert (await ada.ask("GET", path)).json["name"] != "Cheap"
    reply = await root.ask("PATCH", path, {"subscription_tier": "gold"})
    assert reply.status == 422
    assert "basic" in reply.json["detail"]
    reply = await root.ask("PATCH", path, {"subscription_tier": "free"})
    assert (reply.json["subscription_tier"], reply.json["max_users"], reply.json["role"]) == ("free", 3, "admin")

    emails = [new_address() for _ in range(4)]
    tokens = [await invited(ada, email) for email in emails[:2]]
    reply = await ada.ask("POST", path + "/invitations", {"email": emails[2]})
    assert (reply.status, "3 members" in reply.json["detail"]) == (409, True)
    # Who is invited already may be invited again.
    tokens[1] = await invited(ada, emails[1])
    await root.ask("PATCH", path, {"subscription_tier": "pro"})
    tokens += [await invited(ada, email) for email in emails[2:]]
    await root.ask("PATCH", path, {"subscription_tier": "free"})
    # More hold an invitation than there is room for, and all come at once.
    bodies = [{"email": e, "password": PASSWORD, "invitation": t} for e, t in zip(emails, tokens, strict=True)]
    replies = await asyncio.gather(*(say(api, "POST", "/api/auth/register", body) for body in bodies))
    assert sorted(reply.status for reply in replies) == [201, 201, 409, 409]
    assert len(await members(ada)) == 3
    # Nothing of who was refused is left: there is room again, and they come in.
    await root.ask("PATCH", path, {"subscription_tier": "enterprise"})
    left = [body for body, reply in zip(bodies, replies, strict=True) if reply.status == 409]
    assert [(await say(api, "POST", "/api/auth/register", body)).status for body in left] == [201, 201]


async def test_the_admin_may_manage_any_organization(api: Api) -> None:
    ada, root = await registered(api), await admin_of(api)
    ben = await joined(ada)
    assert (await root.ask("PATCH", at(ada.organization), {"name": "Renamed"})).json["role"] == "admin"
    assert (await root.ask("PATCH", at(ada.organization, f"/members/{ben.id}"), {"role": "owner"})).status == 204
    assert (await root.ask("GET", at(ada.organization, "/members?limit=1"))).json["total"] == 2
    assert (await root.ask("GET", at(str(uuid4())))).status == 404
    assert (await root.ask("GET", "/api/v1/organizations?limit=1")).json["total"] > 1


async def test_one_account_owns_a_bounded_number(api: Api) -> None:
    ada = await registered(api)
    statuses = [(await ada.ask("POST", "/api/v1/organizations", {"name": f"O{n}"})).status for n in range(20)]
    assert statuses == [201] * 19 + [409]
