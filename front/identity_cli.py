"""The options of `streamgauge user …` and `streamgauge key …`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Literal
from uuid import UUID

import typer
from rich.console import Console

from front.settings import Settings

_OWNER: Literal["owner"] = "owner"
_MEMBER: Literal["member"] = "member"
_LIMIT = typer.Option(min=1, max=10_000, help="At most so many.")
_PAGE = typer.Option(min=1, help="Which so many, counted from 1.")
_JSON = typer.Option("--json", help="One JSON object a line.")
_STDIN = typer.Option(
    "--password-stdin", help="Read the password from the first line of standard input, not from a prompt."
)
_EMAIL = typer.Argument(help="The e-mail address.")
_WHO = typer.Argument(metavar="EMAIL|ID", help="The e-mail address, or the account's id.")
_ORGANIZATION = typer.Option(help="An organization's id; by default the deployment's own.", show_default=False)


def user_commands(settings: Callable[[], Settings], console: Console) -> typer.Typer:
    """`streamgauge user`."""
    app = typer.Typer(help="Accounts. Works beside a running service, too.", no_args_is_help=True)

    @app.command("list")
    def list_(
        limit: Annotated[int, _LIMIT] = 100, page: Annotated[int, _PAGE] = 1, json: Annotated[bool, _JSON] = False
    ) -> None:
        """List accounts, the oldest first."""
        from front.identity_commands import list_users

        sys.exit(list_users(settings(), limit, page, json, console))

    @app.command()
    def create(
        email: Annotated[str, _EMAIL],
        name: Annotated[str | None, typer.Option(help="What the person is called.", show_default=False)] = None,
        organization: Annotated[
            UUID | None,
            typer.Option(help="The organization to join; by default one of the account's own.", show_default=False),
        ] = None,
        owner: Annotated[bool, typer.Option("--owner", help="Owns that organization.")] = False,
        admin: Annotated[bool, typer.Option("--admin", help="Is an admin of the whole deployment.")] = False,
        password_stdin: Annotated[bool, _STDIN] = False,
    ) -> None:
        """Make an account; its password is asked for."""
        from front.identity_commands import create_user

        role = _OWNER if owner else _MEMBER
        sys.exit(create_user(settings(), email, name, organization, role, admin, password_stdin, console))

    @app.command()
    def password(email: Annotated[str, _WHO], password_stdin: Annotated[bool, _STDIN] = False) -> None:
        """Set a new password, and sign the account out everywhere."""
        from front.identity_commands import set_password

        sys.exit(set_password(settings(), email, password_stdin, console))

    @app.command()
    def disable(email: Annotated[str, _WHO]) -> None:
        """Take an account every way in, within a second. Its data stays."""
        from front.identity_commands import set_disabled

        sys.exit(set_disabled(settings(), email, True, console))

    @app.command()
    def enable(email: Annotated[str, _WHO]) -> None:
        """Let a disabled account sign in again."""
        from front.identity_commands import set_disabled

        sys.exit(set_disabled(settings(), email, False, console))

    return app


def key_commands(settings: Callable[[], Settings], console: Console) -> typer.Typer:
    """`streamgauge key`."""
    app = typer.Typer(help="API keys. Works beside a running service, too.", no_args_is_help=True)

    @app.command("list")
    def list_(
        organization: Annotated[UUID | None, _ORGANIZATION] = None,
        limit: Annotated[int, _LIMIT] = 100,
        page: Annotated[int, _PAGE] = 1,
        json: Annotated[bool, _JSON] = False,
    ) -> None:
        """List an organization's keys, the newest first."""
        from front.key_commands import list_keys_of

        sys.exit(list_keys_of(settings(), organization, limit, page, json, console))

    @app.command()
    def create(
        name: Annotated[str, typer.Argument(help="What it is for.")],
        scope: Annotated[
            list[str] | None, typer.Option(help="events:write or read; repeatable; both by default.")
        ] = None,
        organization: Annotated[UUID | None, _ORGANIZATION] = None,
    ) -> None:
        """Make a key and print it, this once, to standard output."""
        from front.key_commands import create_key

        sys.exit(create_key(settings(), name, scope or ["events:write", "read"], organization, console))

    @app.command()
    def revoke(prefix: Annotated[str, typer.Argument(help="The eight characters after sg_.")]) -> None:
        """Revoke a key: within a second it opens nothing any more."""
        from front.key_commands import revoke_by_prefix

        sys.exit(revoke_by_prefix(settings(), prefix, console))

    return app
