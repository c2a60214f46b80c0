"""`streamgauge user`: accounts, as whoever runs the deployment manages them."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar
from uuid import UUID

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.auth.passwords import Passwords
from api.auth.registration import checked_password
from api.entered import checked_address, checked_name
from api.errors import Problem
from front.database import database_url
from front.settings import InvalidSetting, Settings
from storage import accounts
from storage.accounts import EmailTaken, NewAccount, Profile
from storage.audit import Actor
from storage.database import Database, StorageFault, StorageUnavailable
from storage.members import NotInside, OrganizationFull

_T = TypeVar("_T")


def command_line() -> Actor:
    """Who acts in the audit trail."""
    return Actor(None, "command line", None, dt.datetime.now(dt.UTC))


def with_database(settings: Settings, work: Callable[[Database], Awaitable[_T]]) -> _T:
    """Works with the database, the embedded one too where a service runs on it. Raises InvalidSetting for what is the user's to mend."""

    async def run(url: str) -> _T:
        database = Database(url, size=2)
        await database.open()
        try:
            return await work(database)
        finally:
            await database.close()

    try:
        with database_url(settings) as url:
            return asyncio.run(run(settings.api_database_url or url))
    except Problem as problem:
        raise InvalidSetting(escape(problem.detail)) from None
    except StorageUnavailable as error:
        raise InvalidSetting(f"the database cannot be reached: {escape(str(error))}") from None
    except StorageFault as error:
        raise InvalidSetting(
            f"the database is not as this version needs it; start the service once: {escape(str(error))}"
        ) from None


def list_users(settings: Settings, limit: int, page: int, as_json: bool, console: Console) -> int:
    """Prints accounts; returns 0."""
    rows = with_database(
        settings, lambda database: accounts.list_profiles(database, limit=limit, offset=(page - 1) * limit)
    )
    if as_json:
        for row in rows:
            print(json.dumps({"id": str(row.id), "email": row.email, "name": row.name, "state": _state(row)}))
        return 0
    table = Table("id", "e-mail", "name", "made", "")
    for row in rows:
        table.add_row(
            str(row.id),
            escape(row.email or ""),
            escape(row.name or ""),
            f"{row.created_at:%Y-%m-%d %H:%M}",
            _state(row),
        )
    Console().print(table)
    console.print(f"{len(rows)} of {rows[0].total if rows else 0}")
    return 0


def create_user(
    settings: Settings,
    email: str,
    name: str | None,
    organization: UUID | None,
    role: Literal["owner", "member"],
    admin: bool,
    password_stdin: bool,
    console: Console,
) -> int:
    """Makes an account and prints its id to standard output; returns 0."""
    try:
        address, shown = checked_address(email), None if name is None else checked_name(name)
    except Problem as problem:
        raise InvalidSetting(escape(problem.detail)) from None
    password = _password(password_stdin)

    async def work(database: Database) -> Profile:
        new = NewAccount(address, await Passwords().hash(password), shown, deployment_admin=admin)
        try:
            return await accounts.create_by_command(database, new, organization, role, command_line())
        except EmailTaken:
            raise InvalidSetting("email: an account has this address already") from None
        except NotInside:
            raise InvalidSetting("--organization: there is no such organization") from None
        except OrganizationFull as error:
            raise InvalidSetting(f"--organization: {error}") from None

    made = with_database(settings, work)
    console.print(f"made {escape(address)}")
    print(made.id)
    return 0


def set_password(settings: Settings, email: str, password_stdin: bool, console: Console) -> int:
    """Sets a password; returns 0."""
    password = _password(password_stdin)

    async def work(database: Database) -> None:
        found = await _found(database, email)
        if found.email is None:
            raise InvalidSetting(f"{escape(email)}: signs in with another issuer and has no password here")
        await accounts.change_password(database, found, await Passwords().hash(password), command_line())

    with_database(settings, work)
    console.print(f"{escape(email)} has a new password and is signed out everywhere")
    return 0


def set_disabled(settings: Settings, email: str, disabled: bool, console: Console) -> int:
    """Disables or enables an account; returns 0."""

    async def work(database: Database) -> None:
        found = await _found(database, email)
        await (accounts.disable if disabled else accounts.enable)(database, found, command_line())

    with_database(settings, work)
    console.print(f"{escape(email)} is {'disabled' if disabled else 'enabled'}")
    return 0


async def _found(database: Database, who: str) -> Profile:
    """By address or id: whom another issuer vouches for has no address here."""
    try:
        found = await accounts.find_profile(database, UUID(who))
    except ValueError:
        found = await accounts.find_profile_by_email(database, who.strip())
    if found is None:
        raise InvalidSetting(f"{escape(who)}: there is no account with this address or id")
    return found


def _password(from_stdin: bool) -> str:
    """Never an argument: arguments are in everybody's list of processes."""
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        raise InvalidSetting("standard input is no terminal: pass the password with --password-stdin")
    try:
        return checked_password(password)
    except Problem as problem:
        raise InvalidSetting(escape(problem.detail)) from None


def _state(row: Profile) -> str:
    return "disabled" if row.disabled_at is not None else "admin" if row.deployment_admin else ""
