"""Schedules of reports over HTTP: what can be asked for, what is refused and by which field, and whose they are."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from api.auth.keys import mint
from storage import identity
from storage.accounts import disable, find_profile_by_email
from storage.audit import Actor
from storage.report_schedules import MOST_SCHEDULES
from tests.integration.api_service import Api, another, utc_now
from tests.integration.people import Person, counting, joined, registered, served
from tests.integration.schedule_service import DAILY, SCHEDULES, look, noted, schedule, schedule_of


async def test_a_schedule_is_made_shown_changed_and_deleted(api: Api) -> None:
    reply = await api.request(
        "POST", SCHEDULES, json={**DAILY, "cron": " 0 7 * * 1 ", "tz": "Asia/Kathmandu", "name": " Weekly "}
    )
    made = schedule_of(reply, 201)
    assert reply.headers["Location"] == f"{SCHEDULES}/{made['id']}"
    assert reply.headers["Cache-Control"] == "no-store"
    secret = made.pop("webhook_secret")
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret[6:], validate=True)) == 32
    assert made == {
        "id": made["id"], "name": "Weekly", "type": "performance", "format": "json", "cron": "0 7 * * 1", "tz": "Asia/Kathmandu",
        "days": "yesterday", "filters": {}, "starting_equity": {}, "appendix": None, "own_trades": False,
        "recipients": [{"kind": "store"}], "paused": False, "paused_reason": None, "created_by": made["created_by"],
        "created_at": "2026-03-10T12:00:30Z", "updated_at": "2026-03-10T12:00:30Z",
        "next_due": ["2026-03-16T07:00:00+05:45", "2026-03-23T07:00:00+05:45", "2026-03-30T07:00:00+05:45"], "last": [],
    }  # fmt: skip
    path = f"{SCHEDULES}/{made['id']}"
    assert schedule_of(await api.request("GET", path)) == {**made, "webhook_secret": secret}

    changes = {
        "name": "Statement", "type": "pnl", "format": "excel", "cron": "@monthly", "tz": "Europe/Berlin", "days": "previous_month",
        "recipients": [{"kind": "mail", "address": "a@example.com"}, {"kind": "webhook", "url": "https://example.com/hook"}],
        "filters": {"broker": ["b"]}, "starting_equity": {"USD": "1000.10"}, "appendix": 0,
    }  # fmt: skip
    changed = schedule_of(await api.request("PATCH", path, json=changes))
    assert str(changed["starting_equity"].pop("USD")) == "1000.10"
    assert {name: changed[name] for name in changes} == {**changes, "starting_equity": {}}
    assert changed["next_due"][:2] == ["2026-04-01T00:00:00+02:00", "2026-05-01T00:00:00+02:00"]
    # Another page has neither the secret nor anybody else's.
    page = (await api.request("GET", f"{SCHEDULES}?limit=1")).json
    assert (page["total"], page["page"], page["limit"], len(page["schedules"])) == (1, 1, 1, 1)
    assert "webhook_secret" not in page["schedules"][0]

    assert (await api.request("DELETE", path)).status == 204
    for method, more in (("GET", ""), ("DELETE", ""), ("GET", "/runs")):
        assert (await api.request(method, path + more)).status == 404
    assert (await api.request("PATCH", path, json={"name": "x"})).status == 404
    assert (await api.request("GET", f"{SCHEDULES}/none")).status == 404


async def test_what_it_leaves_out_is_said_by_default(api: Api) -> None:
    async with another(api, "Abroad", time_zone="America/New_York") as abroad:
        given = {name: DAILY[name] for name in ("name", "type", "cron", "recipients")}
        made = schedule_of(await abroad.request("POST", SCHEDULES, json=given), 201)
        assert (made["tz"], made["days"], made["format"]) == ("America/New_York", "yesterday", "pdf")


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ({"name": " "}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"type": "other"}, "type"),
        ({"format": "docx"}, "format"),
        ({"cron": "nonsense"}, "cron"),
        ({"cron": "*/5 * * * *"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": "0 0 1 * 1" + " " * 300}, "cron"),
        ({"tz": "Mars/Base"}, "tz"),
        ({"days": "tomorrow"}, "days"),
        ({"recipients": []}, "recipients"),
        ({"recipients": [{"kind": "store"}] * 21}, "recipients"),
        ({"recipients": [{"kind": "store"}, {"kind": "store"}]}, "recipients[1]"),
        ({"recipients": [{"kind": "pigeon"}]}, "recipients[0].kind"),
        ({"recipients": [{"kind": "mail", "address": "nobody"}]}, "recipients[0].address"),
        ({"recipients": [{"kind": "webhook", "url": "javascript:alert(1)"}]}, "recipients[0].url"),
        ({"filters": {"symbol": ["a"]}}, "type"),
        ({"appendix": 5}, "type"),
        ({"type": "pnl", "filters": {"colour": ["a"]}}, "filters"),
        ({"type": "pnl", "starting_equity": {"USD": -1}}, "starting_equity"),
        ({"type": "pnl", "appendix": -1}, "appendix"),
        ({"paused": "yes"}, "paused"),
        ({"often": True}, "often"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_field(api: Api, given: dict[str, Any], parameter: str) -> None:
    reply = await api.request("POST", SCHEDULES, json={**DAILY, **given})
    assert (reply.status, reply.json["parameter"]) == (422, parameter), reply.text
    path = f"{SCHEDULES}/{(await schedule(api))['id']}"
    before = schedule_of(await api.request("GET", path))
    reply = await api.request("PATCH", path, json=given)
    assert (reply.status, reply.json["parameter"]) == (422, parameter), reply.text
    assert schedule_of(await api.request("GET", path)) == before


async def test_an_organization_has_a_bounded_number_of_them(api: Api) -> None:
    made = await schedule(api)
    for number in range(1, MOST_SCHEDULES):
        await schedule(api, name=str(number), paused=True)
    reply = await api.request("POST", SCHEDULES, json=DAILY)
    assert reply.status == 409
    assert "at most 100 schedules" in reply.json["detail"]
    assert (await api.request("DELETE", f"{SCHEDULES}/{made['id']}")).status == 204
    await schedule(api)


async def test_another_organizations_schedules_are_none(api: Api) -> None:
    made = await schedule(api)
    path = f"{SCHEDULES}/{made['id']}"
    async with another(api, "Others") as other:
        assert (await other.request("GET", SCHEDULES)).json["schedules"] == []
        for method, more in (("GET", ""), ("DELETE", ""), ("GET", "/runs")):
            assert (await other.request(method, path + more)).status == 404
        assert (await other.request("PATCH", path, json={"paused": True})).status == 404
    assert schedule_of(await api.request("GET", path))["paused"] is False


async def ask(person: Person, method: str, path: str, body: Any = None, *, within: str) -> Any:
    reply = await person.ask(method, path, body, within=within)
    assert reply.status < 300, reply.text
    return reply.json if reply.body else None


async def test_a_member_has_their_own_and_an_owner_all(api: Api) -> None:
    api.clock.now = utc_now()
    owner = await registered(api)
    home = owner.organization
    ann, bob = await joined(owner), await joined(owner)
    for kind in ("usage", "billing"):
        assert (await ann.ask("POST", SCHEDULES, {**DAILY, "type": kind}, within=home)).status == 403
    theirs = {"type": "pnl", "filters": {"user_id": ["somebody"]}}
    assert (await ann.ask("POST", SCHEDULES, {**DAILY, **theirs}, within=home)).status == 403
    made = (await ask(ann, "POST", SCHEDULES, {**DAILY, "type": "pnl"}, within=home))["schedule"]
    assert (made["own_trades"], made["created_by"]) == (True, f"account:{ann.id}")
    path = f"{SCHEDULES}/{made['id']}"

    for method, body in (("GET", None), ("PATCH", {"paused": True}), ("DELETE", None)):
        assert (await bob.ask(method, path, body, within=home)).status == 404
    assert (await bob.ask("GET", path + "/runs", within=home)).status == 404
    assert (await ask(bob, "GET", SCHEDULES, within=home))["total"] == 0
    for person in (ann, owner):
        assert (await ask(person, "GET", SCHEDULES, within=home))["total"] == 1
    assert (await ann.ask("PATCH", path, {"type": "usage"}, within=home)).status == 403
    assert (await ann.ask("PATCH", path, {"filters": {"user_id": ["x"]}}, within=home)).status == 403
    # An owner may change it, and it stays a member's.
    assert (await owner.ask("PATCH", path, {"type": "usage"}, within=home)).status == 403
    assert (await owner.ask("PATCH", path, {"filters": {"user_id": [bob.id]}}, within=home)).status == 403
    changed = (await ask(owner, "PATCH", path, {"name": "Other"}, within=home))["schedule"]
    assert (changed["own_trades"], changed["created_by"]) == (True, f"account:{ann.id}")
    # What it makes are the member's reports.
    api.clock.now += timedelta(days=1, seconds=1)
    assert await look(api, api.clock.now.replace(tzinfo=None).isoformat()) >= 1
    api.clock.now = utc_now()
    assert [(await ask(who, "GET", "/api/v1/reports", within=home))["total"] for who in (ann, bob, owner)] == [1, 0, 1]

    actions = [
        (entry["action"], entry["account"], entry["details"].get("fields"))
        for entry in (await ask(owner, "GET", "/api/v1/audit", within=home))["entries"]
        if entry["subject"] == made["id"]
    ]
    assert actions == [("schedule.change", owner.id, ["name"]), ("schedule.create", ann.id, None)]


async def test_a_schedule_ends_with_the_rights_of_who_made_it(api: Api) -> None:
    api.clock.now = utc_now()
    owner = await registered(api)
    home, database = owner.organization, api.services.database
    gone, lower, out = await joined(owner), await joined(owner, "owner"), await joined(owner)
    key = mint()
    await identity.create_api_key(database, UUID(home), "k", prefix=key.prefix, key_digest=key.digest, scopes=["read"])
    ids = {}
    for name, person in (("gone", gone), ("lower", lower), ("out", out), ("owner", owner)):
        ids[name] = (await ask(person, "POST", SCHEDULES, DAILY, within=home))["schedule"]["id"]
    another_one = (await ask(gone, "POST", "/api/v1/organizations", {"name": "Elsewhere"}, within=home))["id"]
    elsewhere = (await ask(gone, "POST", SCHEDULES, DAILY, within=another_one))["schedule"]["id"]
    ids["key"] = (await schedule(api, headers={"Authorization": f"Bearer {key.text}"}))["id"]

    members = f"/api/v1/organizations/{home}/members"
    await owner.ask("DELETE", f"{members}/{gone.id}", within=home)
    await owner.ask("PATCH", f"{members}/{lower.id}", {"role": "member"}, within=home)
    profile = await find_profile_by_email(database, out.email)
    assert profile is not None
    await disable(database, profile, Actor(None, "test", None, api.clock.now))
    keys = (await ask(owner, "GET", "/api/v1/api-keys", within=home))["api_keys"]
    await owner.ask("DELETE", f"/api/v1/api-keys/{keys[0]['id']}", within=home)

    shown = {one["id"]: one for one in (await ask(owner, "GET", SCHEDULES, within=home))["schedules"]}
    reasons = {name: shown[id_]["paused_reason"] for name, id_ in ids.items()}
    assert reasons == {
        "gone": "who made it is not in the organization any more",
        "lower": "who made it does not own the organization any more",
        "out": "the account of who made it is disabled",
        "key": "the API key that made it is revoked",
        "owner": None,
    }
    assert (await ask(gone, "GET", f"{SCHEDULES}/{elsewhere}", within=another_one))["schedule"]["paused"] is False
    await look(api, (api.clock.now + timedelta(days=1)).replace(tzinfo=None).isoformat())
    inside = replace(api, organization=UUID(home))
    assert [name for name, id_ in ids.items() if await noted(inside, id_)] == ["owner"]

    # An owner who resumes it takes it over; who made it may resume it for what they may still see.
    path = f"{SCHEDULES}/{ids['gone']}"
    resumed = (await ask(owner, "PATCH", path, {"paused": False}, within=home))["schedule"]
    assert (resumed["paused_reason"], resumed["created_by"]) == (None, f"account:{owner.id}")
    path = f"{SCHEDULES}/{ids['lower']}"
    # What was looked up of somebody is a second old; a schedule would be there for longer.
    seconds = [0.0]
    async with served(api, authenticator=counting(api, seconds)) as cached:
        person = replace(lower, api=cached)
        await ask(owner, "PATCH", f"{members}/{lower.id}", {"role": "owner"}, within=home)
        await ask(person, "GET", SCHEDULES, within=home)
        await ask(owner, "PATCH", f"{members}/{lower.id}", {"role": "member"}, within=home)
        assert (await person.ask("PATCH", path, {"paused": False}, within=home)).status == 403
        assert (await person.ask("POST", SCHEDULES, {**DAILY, "type": "billing"}, within=home)).status == 403
        seconds[0] += 2
        resumed = (await ask(person, "PATCH", path, {"paused": False}, within=home))["schedule"]
    assert (resumed["own_trades"], resumed["paused_reason"]) == (True, None)
