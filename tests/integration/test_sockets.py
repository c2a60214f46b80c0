"""WebSockets: who is let in and for how long, what is understood, and what a reader that does not read does to others."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from api.auth.keys import mint
from api.auth.tokens import OwnTokens
from storage import identity, sessions
from tests.integration.api_service import SECRET, Api, another, make_organization, until, utc_now
from tests.integration.socket_client import connected, entered

PATHS = ("/ws", "/ws/dashboard")


async def person(api: Api, email: str, role: str = "owner") -> tuple[Any, dict[str, str]]:
    """An account in the organization, and the header of its access token."""
    account = await identity.create_account(api.services.database, email, "hash")
    await identity.create_membership(api.services.database, account, api.organization, role)  # type: ignore[arg-type]
    api.clock.now = utc_now()
    return account, {"Authorization": f"Bearer {OwnTokens(SECRET).issue(account, now=api.clock.now)}"}


async def looked(api: Api) -> None:
    """Returns once the credentials of all streams have been looked at, whole."""
    key = mint()
    made = await identity.create_api_key(
        api.services.database, api.organization, "look", prefix=key.prefix, key_digest=key.digest, scopes=["read"]
    )
    async with connected(api) as socket:
        await socket.signed_in({"Authorization": f"Bearer {key.text}"})
        async with api.services.database.owner() as connection:
            await connection.execute("update store.api_key set revoked_at = now() where id = %s", (made,))
        assert (await socket.end(5))[0] == 4401


async def ticket(api: Api) -> str:
    return str((await api.request("POST", "/api/v1/stream/tickets")).json["ticket"])


@pytest.mark.parametrize("path", PATHS)
async def test_the_first_message_signs_in(api: Api, path: str) -> None:
    _, token = await person(api, f"first{path.replace('/', '-')}@example.com")
    for headers, role in ((api.headers, "key"), (token, "owner")):
        async with connected(api, path) as socket:
            found = await socket.signed_in(headers)
            assert (found["organization_id"], found["role"]) == (str(api.organization), role)
            assert (found["expires_at"] is None) == (role == "key")


@pytest.mark.parametrize("path", PATHS)
async def test_a_header_or_a_ticket_signs_in(api: Api, path: str) -> None:
    async with connected(api, path, headers=api.headers) as socket:
        assert (await socket.next())["type"] == "auth_ok"
    once = await ticket(api)
    async with connected(api, f"{path}?ticket={once}") as socket:
        assert (await socket.next())["data"]["organization_id"] == str(api.organization)
    for wrong in (f"?ticket={once}", "?ticket=nonsense", "?token=something"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connected(api, path + wrong):
                pass
        assert refused.value.status == (400 if "token" in wrong else 401)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"type": "auth", "token": "nonsense"}', 4401),
        ('{"type": "auth", "token": "sg_aaaaaaaa_nonsense"}', 4401),
        ('{"type": "auth", "token": "ü.ü.ü"}', 4401),
        ('{"type": "auth"}', 4401),
        ('{"type": "subscribe", "topics": ["metrics"]}', 4401),
        ("not JSON", 4401),
        ("[]", 4401),
        ('"\\ud800"', 4401),
        ('{"type": "auth", "token": "KEY", "organization_id": "nonsense"}', 4400),
        ('{"type": "auth", "token": "KEY", "organization_id": "00000000-0000-0000-0000-000000000001"}', 4403),
    ],
)
async def test_who_does_not_sign_in_is_told_and_let_go(api: Api, path: str, message: str, code: int) -> None:
    async with connected(api, path) as socket:
        await socket.socket.send_str(message.replace("KEY", api.headers["Authorization"].removeprefix("Bearer ")))
        closed, said = await socket.end()
        assert (closed, [one["type"] for one in said]) == (code, ["error"])
        assert said[0]["data"]["message"]


async def test_who_says_nothing_is_let_go(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.ws.sign_in.SIGN_IN_S", 0.1)
    async with connected(api) as socket:
        assert await socket.end() == (4401, [])


async def test_a_key_that_may_not_read_is_not_let_in(api: Api) -> None:
    key = mint()
    await identity.create_api_key(
        api.services.database, api.organization, "w", prefix=key.prefix, key_digest=key.digest, scopes=["events:write"]
    )
    async with connected(api) as socket:
        await socket.send(type="auth", token=key.text)
        assert (await socket.end())[0] == 4403
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with connected(api, headers={"X-API-Key": key.text}):
            pass
    assert refused.value.status == 403


async def test_a_person_chooses_among_their_organizations(api: Api) -> None:
    account, token = await person(api, "several@example.com")
    second, _ = await make_organization(api.services.database, "Second")
    await identity.create_membership(api.services.database, account, second, "member")
    foreign, _ = await make_organization(api.services.database, "Foreign")
    for headers, more in (({"X-Organization-ID": str(second)}, {}), ({}, {"organization_id": str(second)})):
        async with connected(api, headers=headers) as socket:
            assert (await socket.signed_in(token, **more))["organization_id"] == str(second)
    async with connected(api, headers={"X-Organization-ID": str(foreign)}) as socket:
        await socket.send(type="auth", token=token["Authorization"][7:])
        assert (await socket.end())[0] == 4403
    async with connected(api, headers={"X-Organization-ID": str(second)}) as socket:
        await socket.send(type="auth", token=token["Authorization"][7:], organization_id=str(api.organization))
        assert (await socket.end())[0] == 4400


async def test_a_connection_ends_when_its_credential_does(api: Api) -> None:
    _, token = await person(api, "ending@example.com")
    key = mint()
    made = await identity.create_api_key(
        api.services.database, api.organization, "gone", prefix=key.prefix, key_digest=key.digest, scopes=["read"]
    )
    async with connected(api) as revoked, connected(api, "/ws/dashboard") as expiring, connected(api) as demoted:
        await revoked.signed_in({"Authorization": f"Bearer {key.text}"})
        await expiring.signed_in(token)
        other, other_token = await person(api, "demoted@example.com")
        await demoted.signed_in(other_token)
        async with api.services.database.owner() as connection:
            await connection.execute("update store.api_key set revoked_at = now() where id = %s", (made,))
        assert (await revoked.end(5))[0] == 4401
        await identity.create_membership(api.services.database, other, api.organization, "member")
        assert (await demoted.end(5))[0] == 4401
        api.clock.now += timedelta(minutes=31)
        assert (await expiring.end(5))[0] == 4401
    assert len(api.readers) == 0


async def test_a_newer_token_makes_a_connection_last(api: Api) -> None:
    account, newer = await person(api, "lasting@example.com")
    older = OwnTokens(SECRET).issue(account, now=api.clock.now - timedelta(minutes=20))
    _, foreign = await make_organization(api.services.database, "Elsewhere")
    async with connected(api) as socket:
        await socket.signed_in({"Authorization": f"Bearer {older}"})
        await socket.next_of("system_metrics")
        await socket.send(type="auth", token=newer["Authorization"][7:])
        assert (await socket.next_of("auth_ok"))["role"] == "owner"
        api.clock.now += timedelta(minutes=15)
        # The first token has ended; what is pushed after the next look at credentials comes under the second.
        await looked(api)
        await api.send([api.system("a", cpu_usage=1)])
        assert (await socket.next_of("system_metrics"))["cpuUsage"] == 1
        await socket.send(type="auth", token=foreign["Authorization"][7:])
        assert (await socket.end())[0] == 4403


async def test_the_cookie_counts_on_our_own_page_only(api: Api) -> None:
    account, _ = await person(api, "cookie@example.com")
    now = utc_now()
    await sessions.create_browser_session(api.services.database, "a-token", account, api.organization, now=now)
    cookie = {"Cookie": "streamgauge_session=a-token"}
    for ours in ({"Origin": api.url}, {"Sec-Fetch-Site": "same-origin"}):
        async with connected(api, headers={**cookie, **ours}) as socket:
            assert (await socket.next())["type"] == "auth_ok"
    for theirs in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site", "Origin": api.url}):
        async with connected(api, headers={**cookie, **theirs}) as socket:
            # Nobody yet: the other origin's page must sign in itself.
            await socket.send(type="subscribe")
            assert (await socket.end())[0] == 4401
    async with connected(api, headers={**cookie, "Origin": "https://app.example"}) as socket:
        assert (await socket.signed_in(api.headers))["role"] == "key"


async def test_what_is_not_understood_is_told_and_the_connection_stays(api: Api) -> None:
    async with entered(api, "/ws/dashboard") as socket:
        for text in ("{", "[1]", '{"type": 5}', '{"token": "a"}', '{"type": "subscribe", "topics": "metrics"}'):
            await socket.socket.send_str(text)
            assert (await socket.next())["type"] == "error"
        await socket.socket.send_bytes(b"{}")
        assert "texts" in (await socket.next())["data"]["message"]
        await socket.send(type="subscribe_all")
        error = (await socket.next())["data"]
        assert "subscribe_all" in error["message"]
        assert {"auth", "subscribe", "request_metrics", "requestMetrics"} <= set(error["known"])
        await socket.send(type="subscribe", topics=["weather"])
        assert "metrics" in (await socket.next())["data"]["known"]
        await socket.send(type="subscribe", topics=[])
        assert (await socket.next())["type"] == "error"
        await socket.send(type="request_metrics")
        assert (await socket.next())["type"] == "metrics"


async def test_messages_are_bounded_in_size_and_number(api: Api) -> None:
    async with entered(api) as socket:
        await socket.send(type="x" * 70_000)
        assert (await socket.end())[0] == 1009
    async with entered(api, "/ws/dashboard") as socket:
        for _ in range(60):
            await socket.send(type="nonsense")
        code, said = await socket.end()
        assert code == 1008
        assert {one["type"] for one in said} == {"error"}


async def test_a_request_without_an_upgrade_is_told(api: Api) -> None:
    for path in PATHS:
        reply = await api.get(path)
        assert (reply.status, reply.headers["Upgrade"], reply.json["title"]) == (426, "websocket", "Upgrade needed")
    described = (await api.get("/openapi.json")).json["paths"]
    assert "101" in described["/ws"]["get"]["responses"]
    assert "101" in described["/ws/dashboard"]["get"]["responses"]


async def test_a_reader_that_does_not_read_is_cut_and_others_do_not_notice(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.stream.readers.STALL_S", 0.5)
    async with entered(api, "/ws/dashboard", narrow=True) as slow, entered(api) as fast:
        await fast.next_of("system_metrics")
        reader = slow.served_by(api)
        # Errors of which each repeats what was sent fill the connection.
        while reader.open:
            with contextlib.suppress(ConnectionError):
                await slow.send(type="subscribe", topics=["x" * 64] * 400)
        await until(lambda: reader not in api.readers, 20)
        assert reader.ended == "overrun"
        await api.send([api.system("a", cpu_usage=1)])
        assert (await fast.next_of("system_metrics"))["cpuUsage"] == 1


async def test_connections_leave_nothing_behind(api: Api) -> None:
    hub = api.services.hub

    async def one(number: int) -> None:
        async with entered(api, PATHS[number % 2]) as socket:
            if number % 2:
                await socket.send(type="subscribe", topics=["metrics"])
            await socket.next()

    for _ in range(2):
        await asyncio.gather(*(one(number) for number in range(40)))
    await until(lambda: not hub._topics and not len(api.readers))
    assert not hub._concerned
    tasks = {task.get_name() for task in asyncio.all_tasks()}
    assert not tasks & {"socket-sender", "state-topic"}
    gauges = (await api.get("/metrics")).text
    assert 'streamgauge_streams{mode="ws"} 0.0' in gauges
    assert 'streamgauge_streams{mode="ws_dashboard"} 0.0' in gauges


async def test_two_organizations_never_hear_each_other(api: Api) -> None:
    async with another(api, "Other") as other, entered(api) as ours, entered(other) as theirs:
        for socket in (ours, theirs):
            assert (await socket.next_of("system_metrics"))["cpuUsage"] is None
        await other.send([other.system("theirs", cpu_usage=77)])
        assert (await theirs.next_of("system_metrics"))["cpuUsage"] == 77
        await api.send([api.system("ours", cpu_usage=5)])
        assert (await ours.next_of("system_metrics"))["cpuUsage"] == 5
