"""The first message of a WebSocket: browsers cannot send headers with one, so it says who is there."""

from __future__ import annotations

import asyncio
from uuid import UUID

import msgspec
from aiohttp import WSCloseCode

from api.auth.authenticate import Authenticator
from api.auth.principal import Principal
from api.client_address import client_address
from api.errors import Problem
from api.ws.connection import NOT_SIGNED_IN, Closed, Connection
from api.ws.messages import Message, NotUnderstood, failure, understood, write
from storage.database import StorageUnavailable

SIGN_IN_S = 10.0


async def first_message(connection: Connection, authenticator: Authenticator, wanted: UUID | None) -> Principal | None:
    """Who signs in; None where the other side left before. Raises Closed where nobody does in time, or with a bad credential."""
    try:
        async with asyncio.timeout(SIGN_IN_S):
            text = await connection.receive()
    except TimeoutError:
        raise Closed(NOT_SIGNED_IN, f"no auth message within {SIGN_IN_S:.0f} s") from None
    if text is None:
        return None
    try:
        message = understood(text)
    except NotUnderstood as error:
        connection.reply(failure(str(error), ("auth",)))
        raise Closed(NOT_SIGNED_IN, "the first message must be of the type auth") from None
    if message.type != "auth":
        connection.reply(failure('sign in first: {"type": "auth", "token": "…"}', ("auth",)))
        raise Closed(NOT_SIGNED_IN, "the first message must be of the type auth")
    return await signed_in(connection, message, authenticator, wanted)


async def signed_in(
    connection: Connection, message: Message, authenticator: Authenticator, wanted: UUID | None
) -> Principal:
    """Whose token an `auth` message holds, in the organization that it or the upgrade's header asks for. Raises Closed."""
    try:
        asked = _organization(message, wanted)
        principal = await authenticator.authenticate_bearer(message.token or "", asked)
        authenticator.arrivals.note(principal, by_header=asked is not None, address=client_address(connection.request))
        if not principal.allows("read"):
            raise Problem(403, "this needs the scope read")
    except Problem as problem:
        connection.reply(failure(problem.detail))
        raise Closed(4000 + problem.status, problem.detail) from None
    except StorageUnavailable:
        connection.reply(failure("the database cannot be reached now"))
        raise Closed(WSCloseCode.TRY_AGAIN_LATER, "the database cannot be reached now") from None
    return principal


def welcome(connection: Connection, principal: Principal) -> None:
    """Says as whom the other side is let in, and until when."""
    data = {
        "organization_id": principal.organization,
        "role": principal.role,
        "expires_at": principal.expires_at,
    }
    connection.reply(write("auth_ok", data))


def _organization(message: Message, wanted: UUID | None) -> UUID | None:
    if message.organization_id is None:
        return wanted
    try:
        asked = msgspec.convert(message.organization_id, UUID)
    except (msgspec.ValidationError, UnicodeEncodeError):
        raise Problem(400, "organization_id: expected an organization's id, a UUID") from None
    if wanted is not None and wanted != asked:
        raise Problem(400, "organization_id: is another one than the header X-Organization-ID names")
    return asked
