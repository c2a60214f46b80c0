"""`streamgauge key`: API keys, as whoever runs the deployment manages them."""

from __future__ import annotations

import json
from uuid import UUID

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.auth.keys import mint
from api.entered import checked_name
from front.identity_commands import command_line, with_database
from front.settings import InvalidSetting, Settings
from storage import api_keys
from storage.api_keys import ListedKey, MintedKey, TooManyKeys
from storage.bootstrap import FIRST_SCOPES, first_organization
from storage.database import Database
from storage.identity import find_api_key
from storage.members import NotInside


def list_keys_of(
    settings: Settings, organization: UUID | None, limit: int, page: int, as_json: bool, console: Console
) -> int:
    """Prints an organization's keys; returns 0."""

    async def work(database: Database) -> list[ListedKey]:
        where = await _organization(database, organization)
        return await api_keys.list_keys(database, where, limit=limit, offset=(page - 1) * limit)

    rows = with_database(settings, work)
    if as_json:
        for row in rows:
            shown = {
                "prefix": row.prefix,
                "name": row.name,
                "scopes": row.scopes,
                "revoked": row.revoked_at is not None,
            }
            print(json.dumps(shown))
        return 0
    table = Table("prefix", "name", "scopes", "made", "last used", "")
    for row in rows:
        table.add_row(
            row.prefix,
            escape(row.name),
            " ".join(row.scopes),
            f"{row.created_at:%Y-%m-%d %H:%M}",
            "never" if row.last_used_at is None else f"{row.last_used_at:%Y-%m-%d %H:%M}",
            "" if row.revoked_at is None else "revoked",
        )
    Console().print(table)
    console.print(f"{len(rows)} of {rows[0].total if rows else 0}")
    return 0


def create_key(settings: Settings, name: str, scopes: list[str], organization: UUID | None, console: Console) -> int:
    """Makes a key and prints it to standard output; returns 0."""
    unknown = [scope for scope in scopes if scope not in FIRST_SCOPES]
    if unknown:
        raise InvalidSetting(f"--scope: {escape(unknown[0])} is none; known are {', '.join(FIRST_SCOPES)}")

    async def work(database: Database) -> str:
        where, shown = await _organization(database, organization), checked_name(name)
        while True:
            key = mint()
            try:
                made = await api_keys.add_key(
                    database, where, MintedKey(shown, key.prefix, key.digest, scopes), command_line()
                )
            except NotInside:
                raise InvalidSetting("--organization: there is no such organization") from None
            except TooManyKeys:
                raise InvalidSetting(f"an organization has at most {api_keys.MOST_KEYS} keys") from None
            if made is not None:
                return key.text

    text = with_database(settings, work)
    console.print("keep it: it is shown this once")
    print(text)
    return 0


def revoke_by_prefix(settings: Settings, prefix: str, console: Console) -> int:
    """Revokes a key; returns 0."""

    async def work(database: Database) -> ListedKey:
        found = await find_api_key(database, prefix.strip().removeprefix("sg_"))
        if found is None:
            raise InvalidSetting(f"{escape(prefix)}: there is no key with this prefix that is not revoked")
        return await api_keys.revoke_key(database, found.organization, found.id, command_line())

    revoked = with_database(settings, work)
    console.print(f"{revoked.prefix} ({escape(revoked.name)}) is revoked")
    return 0


async def _organization(database: Database, wanted: UUID | None) -> UUID:
    found = wanted or await first_organization(database)
    if found is None:
        raise InvalidSetting("there is no organization yet; start the service once")
    return found
