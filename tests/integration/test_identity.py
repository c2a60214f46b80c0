"""Accounts, organizations, keys, sessions, links and tickets in a real database; and the first start."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from api.auth.first_secrets import first_secrets
from api.auth.keys import mint
from api.auth.passwords import Passwords
from storage import identity, sessions
from storage.bootstrap import Bootstrap, bootstrap, ensure_demo_organization
from storage.database import Database, StorageRefused
from storage.identity import digest

NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)


async def test_an_account_enters_the_organizations_it_is_in_and_an_admin_enters_all(database: Database) -> None:
    acme = await identity.create_organization(database, "Acme")
    demo = await identity.create_organization(database, "Shown", demo=True)
    other = await identity.create_organization(database, "Other")
    ada = await identity.create_account(database, "Ada@example.com", "hash", name="Ada")
    root = await identity.create_account(database, "root@example.com", "hash", deployment_admin=True)
    await identity.create_membership(database, ada, demo, "member")
    await identity.create_membership(database, ada, acme, "owner")
    await identity.create_membership(database, root, other, "owner")

    hers = await identity.list_access(database, ada)
    assert [(a.organization_name, a.demo, a.role) for a in hers] == [
        ("Acme", False, "owner"),
        ("Shown", True, "member"),
    ]
    every = await identity.list_access(database, root)
    assert [(a.organization_name, a.role) for a in every] == [("Other", "admin"), ("Acme", "admin"), ("Shown", "admin")]

    assert (await identity.find_access(database, ada, None)) == hers[0]
    assert (await identity.find_access(database, ada, demo)) == hers[1]
    assert await identity.find_access(database, ada, other) is None
    assert await identity.find_access(database, root, uuid4()) is None
    assert await identity.find_access(database, uuid4(), None) is None

    await identity.create_membership(database, ada, acme, "member")
    now_member = await identity.find_access(database, ada, acme)
    assert now_member is not None
    assert now_member.role == "member"


async def test_an_address_belongs_to_one_account_in_any_case(database: Database) -> None:
    ada = await identity.create_account(database, "Ada@example.com", "hash")
    found = await identity.find_account(database, "aDA@EXAMPLE.com")
    assert found is not None
    assert (found.id, found.email, found.deployment_admin) == (ada, "Ada@example.com", False)
    assert await identity.find_account(database, "ada@example.org") is None
    with pytest.raises(StorageRefused):
        await identity.create_account(database, "ada@example.com", "hash")


async def test_a_session_slides_at_most_once_an_hour_and_ends_after_thirty_days(database: Database) -> None:
    acme = await identity.create_organization(database, "Acme")
    ada = await identity.create_account(database, "ada@example.com", "hash")
    await identity.create_membership(database, ada, acme, "member")
    await sessions.create_browser_session(database, "token", ada, acme, now=NOW)

    async def expiry(after: timedelta) -> timedelta | None:
        session = await sessions.find_browser_session(database, digest("token"), now=NOW + after)
        return None if session is None else session.expires_at - NOW

    hour, day = timedelta(hours=1), timedelta(days=1)
    assert await expiry(hour) == 30 * day
    assert await expiry(2 * hour) == 30 * day + 2 * hour
    assert await expiry(3 * hour) == 30 * day + 2 * hour
    assert await expiry(30 * day) == 60 * day
    assert await expiry(60 * day) is None


async def test_a_session_goes_only_where_its_account_may_go(database: Database) -> None:
    acme = await identity.create_organization(database, "Acme")
    other = await identity.create_organization(database, "Other")
    ada = await identity.create_account(database, "ada@example.com", "hash")
    await identity.create_membership(database, ada, acme, "member")
    await sessions.create_browser_session(database, "token", ada, acme, now=NOW)

    assert await sessions.switch_browser_session(database, digest("token"), other, now=NOW) is None
    await identity.create_membership(database, ada, other, "member")
    assert await sessions.switch_browser_session(database, digest("nobody's"), other, now=NOW) is None
    assert await sessions.switch_browser_session(database, digest("token"), other, now=NOW + timedelta(days=31)) is None
    switched = await sessions.switch_browser_session(database, digest("token"), other, now=NOW)
    assert switched == identity.Organization(other, "Other", False)

    async with database.owner() as connection:
        await connection.execute("delete from store.membership where organization = %s", (other,))
    assert await sessions.find_browser_session(database, digest("token"), now=NOW) is None


async def test_links_and_tickets_are_used_once_whoever_tries_at_once(database: Database) -> None:
    acme = await identity.create_organization(database, "Acme")
    ada = await identity.create_account(database, "ada@example.com", "hash")
    await sessions.create_sign_in_link(database, "link", ada, acme, now=NOW)
    await sessions.create_stream_ticket(database, "ticket", {"who": "ada"}, now=NOW)

    links = await asyncio.gather(*(sessions.consume_sign_in_link(database, "link", now=NOW) for _ in range(8)))
    assert [link for link in links if link is not None] == [sessions.SignInLink(ada, acme, "ada@example.com")]
    tickets = await asyncio.gather(*(sessions.consume_stream_ticket(database, "ticket", now=NOW) for _ in range(8)))
    assert [ticket for ticket in tickets if ticket is not None] == [{"who": "ada"}]


async def test_what_has_expired_is_of_no_use_and_is_pruned(database: Database) -> None:
    acme = await identity.create_organization(database, "Acme")
    ada = await identity.create_account(database, "ada@example.com", "hash")
    for name, made in (("old", NOW - timedelta(days=31)), ("new", NOW)):
        await sessions.create_browser_session(database, f"{name} session", ada, acme, now=made)
        await sessions.create_sign_in_link(database, f"{name} link", ada, acme, now=made)
        await sessions.create_stream_ticket(database, f"{name} ticket", {}, now=made)
    assert await sessions.consume_sign_in_link(database, "old link", now=NOW) is None
    assert await sessions.consume_stream_ticket(database, "old ticket", now=NOW) is None
    assert await sessions.consume_stream_ticket(database, "new ticket", now=NOW + timedelta(seconds=60)) is None
    assert await sessions.prune_expired(database, now=NOW) == 3
    assert await sessions.prune_expired(database, now=NOW) == 0
    assert await sessions.consume_sign_in_link(database, "new link", now=NOW) is not None
    assert await sessions.consume_stream_ticket(database, "new ticket", now=NOW) == {}


async def test_no_token_is_stored_as_it_is(database: Database) -> None:
    acme = await identity.create_organization(database, "Acme")
    ada = await identity.create_account(database, "ada@example.com", "hash")
    key = mint()
    await identity.create_api_key(
        database, acme, "Key", prefix=key.prefix, key_digest=key.digest, scopes=["read", "events:write"]
    )
    secret = key.text.rpartition(f"{key.prefix}_")[2]
    await sessions.create_browser_session(database, secret, ada, acme, now=NOW)
    await sessions.create_sign_in_link(database, secret, ada, acme, now=NOW)
    await sessions.create_stream_ticket(database, secret, {}, now=NOW)
    async with database.owner() as connection:
        stored = ""
        for table in ("api_key", "browser_session", "sign_in_link", "stream_ticket"):
            rows = await connection.execute(f"select * from store.{table}")
            async for row in rows:
                stored += repr(row)
    assert repr(digest(secret)) in stored
    assert secret not in stored


async def test_a_key_is_found_by_its_prefix_until_it_is_revoked(database: Database) -> None:
    acme = await identity.create_organization(database, "Acme")
    key = mint()
    made = await identity.create_api_key(
        database, acme, "Key", prefix=key.prefix, key_digest=key.digest, scopes={"read", "events:write"}
    )
    assert await identity.find_api_key(database, key.prefix) == identity.ApiKey(
        made, acme, "Key", key.prefix, key.digest, ["events:write", "read"]
    )
    assert await identity.find_api_key(database, "aaaaaaaa") is None
    async with database.owner() as connection:
        await connection.execute("update store.api_key set revoked_at = now() where id = %s", (made,))
    assert await identity.find_api_key(database, key.prefix) is None


async def test_the_first_start_makes_an_admin_and_a_key_and_the_next_makes_nothing(database: Database) -> None:
    passwords = Passwords()
    kept: list[Bootstrap] = []
    first = await bootstrap(database, lambda: first_secrets(passwords), kept.append)
    again = await bootstrap(database, lambda: first_secrets(passwords), kept.append)
    assert kept == [first]
    assert first.secrets is not None
    assert again == Bootstrap(first.organization, first.admin, None)

    admin = await identity.find_account(database, "admin@streamgauge.local")
    assert admin is not None
    assert admin.id == first.admin
    assert await passwords.verify(first.secrets.password, admin.password_hash)
    (access,) = await identity.list_access(database, admin.id)
    assert (access.organization, access.organization_name, access.demo) == (first.organization, "Default", False)
    key = await identity.find_api_key(database, first.secrets.key_prefix)
    assert key is not None
    assert (key.organization, key.digest, set(key.scopes)) == (
        first.organization,
        digest(first.secrets.api_key),
        {"events:write", "read"},
    )
    assert first.secrets.password not in repr(first)
    assert first.secrets.api_key not in repr(first)


async def test_of_many_first_starts_at_once_one_makes_the_secrets(database: Database) -> None:
    passwords = Passwords()
    starts = await asyncio.gather(*(bootstrap(database, lambda: first_secrets(passwords)) for _ in range(6)))
    assert len([start for start in starts if start.secrets is not None]) == 1
    assert len({(start.organization, start.admin) for start in starts}) == 1


async def test_secrets_that_could_not_be_kept_were_never_made(database: Database) -> None:
    def full_disk(made: Bootstrap) -> None:
        raise OSError("no space left on device")

    passwords = Passwords()
    with pytest.raises(OSError, match="no space"):
        await bootstrap(database, lambda: first_secrets(passwords), full_disk)
    assert await identity.find_account(database, "admin@streamgauge.local") is None
    assert (await bootstrap(database, lambda: first_secrets(passwords))).secrets is not None


async def test_the_demo_organization_is_made_once_and_the_admin_owns_it(database: Database) -> None:
    passwords = Passwords()
    start = await bootstrap(database, lambda: first_secrets(passwords))
    assert start.admin is not None
    made = set(await asyncio.gather(*(ensure_demo_organization(database) for _ in range(4))))
    assert len(made) == 1
    default, demo = await identity.list_access(database, start.admin)
    assert (default.organization, demo.organization) == (start.organization, made.pop())
    assert (demo.organization_name, demo.demo) == ("Demo (simulated data)", True)
    async with database.owner() as connection:
        rows = await connection.execute(
            "select role from store.membership where organization = %s", (demo.organization,)
        )
        assert await rows.fetchall() == [("owner",)]
    assert (await bootstrap(database, lambda: first_secrets(passwords))).organization == start.organization
