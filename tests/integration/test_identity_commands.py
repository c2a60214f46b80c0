"""`streamgauge user` and `streamgauge key`: beside a running service, whose embedded database they share, and one by one."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from api.auth.passwords import Passwords
from front.identity_commands import create_user, list_users, set_disabled, set_password, with_database
from front.key_commands import create_key, list_keys_of, revoke_by_prefix
from front.settings import InvalidSetting, Settings
from storage import identity
from storage.bootstrap import first_organization
from storage.database import Database
from tests.service_process import ROOT, ServiceProcess, clean_environment, wait_until

FIRST, SECOND = "first password", "second password"
QUIET = Console(file=io.StringIO())


@pytest.fixture
def service(data_folder: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(data_folder, environment={"STREAMGAUGE_COLLECT_HOST": "false"}) as running:
        yield running
        assert running.stop() == 0


def ran(service: ServiceProcess, *arguments: str, code: int = 0, typed: str | None = None) -> tuple[list[str], str]:
    """What a command printed: lines for programs, and what it said to people."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "streamgauge.py"), *arguments],
        cwd=ROOT,
        env=clean_environment(service.data),
        input=typed,
        stdin=subprocess.DEVNULL if typed is None else None,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines(), done.stderr


def status(service: ServiceProcess, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.request("/api/auth/me", headers=named)[0]


def login(service: ServiceProcess, email: str, password: str) -> tuple[int, Any]:
    found, answer, _ = service.request("/api/auth/login", {"email": email, "password": password})
    return found, answer


def test_accounts_and_keys_are_managed_beside_a_running_service(service: ServiceProcess) -> None:
    (made,), _ = ran(service, "user", "create", "Ada@example.com", "--name", "Ada", "--password-stdin", typed=FIRST)
    uuid.UUID(made)
    found, tokens = login(service, "ada@example.com", FIRST)
    assert found == 200
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    me = service.request("/api/auth/me", headers=bearer)[1]
    assert (me["account"], me["role"], me["organization"]["name"]) == (made, "owner", "Ada")
    ran(service, "user", "disable", "ADA@example.com")
    wait_until(lambda: status(service, **bearer) == 401, "the account to be out")
    assert login(service, "ada@example.com", FIRST)[0] == 401
    table, said = ran(service, "user", "list")
    assert [word in "\n".join(table) for word in (made, "Ada@example.com", "disabled", "admin@streamgauge.local")] == [
        True
    ] * 4
    assert "2 of 2" in said

    (key,), said = ran(service, "key", "create", "Collector", "--scope", "read")
    assert key not in said
    prefix = key.split("_")[1]
    assert status(service, Authorization=f"Bearer {key}") == 200
    ran(service, "key", "revoke", prefix)
    wait_until(lambda: status(service, Authorization=f"Bearer {key}") == 401, "the key to be revoked")

    _, admin = login(service, service.credentials["admin_email"], service.credentials["admin_password"])
    headers = {"Authorization": f"Bearer {admin['access_token']}"}
    trail = service.request("/api/v1/audit?limit=200&of=deployment", headers=headers)[1]["entries"]
    by_command = [(one["action"], one["subject"]) for one in trail[::-1] if one["actor"] == "command line"]
    assert by_command == [
        ("organization.create", "Ada"),
        ("account.register", "Ada@example.com"),
        ("account.disable", "Ada@example.com"),
        ("key.create", prefix),
        ("key.revoke", prefix),
    ]
    for secret in (FIRST, key, tokens["refresh_token"]):
        assert secret not in json.dumps(trail) + "".join(service.output)


Type = Callable[[str], None]


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Those of a deployment with an organization and its admin."""
    made = Settings(database_url=database_url, data=tmp_path)

    async def fill(database: Database) -> None:
        await identity.create_organization(database, "Default")
        await identity.create_account(database, "admin@example.com", "hash", deployment_admin=True)

    with_database(made, fill)
    return made


@pytest.fixture
def types(monkeypatch: pytest.MonkeyPatch) -> Type:
    """Puts a line on standard input."""
    return lambda line: monkeypatch.setattr(sys, "stdin", io.StringIO(line))


def test_lists_passwords_and_organizations(settings: Settings, types: Type, capsys: pytest.CaptureFixture[str]) -> None:
    home = with_database(settings, first_organization)
    types(FIRST + "\n")
    create_user(settings, "ben@example.com", None, home, "member", False, True, QUIET)
    types(FIRST)
    create_user(settings, "eve@example.com", "Eve", None, "member", True, True, QUIET)
    types(SECOND)
    set_password(settings, "BEN@example.com", True, QUIET)
    set_disabled(settings, "ben@example.com", True, QUIET)
    ben = with_database(settings, lambda database: identity.find_account(database, "ben@example.com"))
    assert ben is not None
    set_disabled(settings, str(ben.id), False, QUIET)

    async def look(database: Database) -> Any:
        ben = await identity.find_account(database, "ben@example.com")
        eve = await identity.find_account(database, "eve@example.com")
        assert ben is not None and eve is not None  # noqa: PT018
        verified = [await Passwords().verify(password, ben.password_hash) for password in (FIRST, SECOND)]
        roles = [[a.role for a in await identity.list_access(database, account.id)] for account in (ben, eve)]
        return verified, roles, eve.deployment_admin

    # An admin is in no organization of their own, and may enter each.
    assert with_database(settings, look) == ([False, True], [["member"], ["admin"]], True)
    capsys.readouterr()
    list_users(settings, 10, 1, True, QUIET)
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["email"], one["state"]) for one in listed] == [
        ("admin@example.com", "admin"),
        ("ben@example.com", ""),
        ("eve@example.com", "admin"),
    ]
    create_key(settings, "k", ["read"], None, QUIET)
    prefix = capsys.readouterr().out.split("_")[1]
    revoke_by_prefix(settings, f"sg_{prefix}", QUIET)
    list_keys_of(settings, home, 10, 1, True, QUIET)
    assert json.loads(capsys.readouterr().out) == {"prefix": prefix, "name": "k", "scopes": ["read"], "revoked": True}


def test_what_cannot_be_done_is_told(settings: Settings, types: Type, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = uuid.uuid4()

    def create(email: str, organization: uuid.UUID | None = None, stdin: bool = True) -> int:
        return create_user(settings, email, None, organization, "member", False, stdin, QUIET)

    refused: list[tuple[str, Callable[[], int], str]] = [
        (FIRST, lambda: create("nonsense"), "email"),
        ("short", lambda: create("a@example.com"), "password"),
        (FIRST, lambda: create("a@example.com", stdin=False), "--password-stdin"),
        (FIRST, lambda: create("ADMIN@example.com"), "has this address"),
        (FIRST, lambda: create("a@example.com", nowhere), "no such"),
        (FIRST, lambda: set_password(settings, "nobody@example.com", True, QUIET), "no account"),
        ("", lambda: set_disabled(settings, "nobody@example.com", True, QUIET), "no account"),
        ("", lambda: set_disabled(settings, str(nowhere), True, QUIET), "no account"),
        ("", lambda: create_key(settings, "k", ["admin"], None, QUIET), "--scope"),
        ("", lambda: create_key(settings, "", ["read"], None, QUIET), "name"),
        ("", lambda: create_key(settings, "k", ["read"], nowhere, QUIET), "no such"),
        ("", lambda: revoke_by_prefix(settings, "aaaaaaaa", QUIET), "no key"),
    ]
    for line, command, what in refused:
        types(line)
        with pytest.raises(InvalidSetting, match=what) as told:
            command()
        assert FIRST not in str(told.value)
    assert capsys.readouterr().out == ""
