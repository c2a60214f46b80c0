"""A WebSocket from its upgrade to its close, whatever it is about."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import ClassVar

import msgspec
import structlog
from aiohttp import WSCloseCode, web

from api.auth.authenticate import wanted_organization
from api.auth.principal import PRINCIPAL, Principal
from api.client_address import client_address, neighbourhood
from api.errors import Problem
from api.routing import parse_query
from api.services import Services, services
from api.stream.announcements import ANNOUNCEMENTS, Announcements
from api.stream.readers import READERS, End, Reader
from api.ws.connection import NOT_ALLOWED, NOT_SIGNED_IN, TOO_MANY, Closed, Connection
from api.ws.messages import Message, NotUnderstood, failure, understood
from api.ws.sign_in import first_message, signed_in, welcome

log = structlog.get_logger(__name__)

_ENDS: dict[End, tuple[int, str]] = {
    "credential": (NOT_SIGNED_IN, "the credential has ended"),
    "closing": (WSCloseCode.GOING_AWAY, "the service stops"),
    "stalled": (WSCloseCode.TRY_AGAIN_LATER, "nothing was read for too long"),
    "failed": (WSCloseCode.INTERNAL_ERROR, "the figures could not be read"),
    "overrun": (WSCloseCode.TRY_AGAIN_LATER, "more was waiting than is kept: read again what you hold"),
}


class SocketQuery(msgspec.Struct):
    """`ticket` from `POST /api/v1/stream/tickets` signs in a browser that has no token at hand. A token never stands in an address."""

    ticket: str | None = None


class Conversation(ABC):
    """What one path tells and understands, over one connection. `types` are the messages that it understands besides `auth`."""

    types: ClassVar[tuple[str, ...]] = ()
    mode: ClassVar[str]
    """How its streams are called in the service's own figures."""

    def __init__(
        self,
        connection: Connection,
        reader: Reader,
        parts: Services,
        announcements: Announcements,
        principal: Principal,
    ) -> None:
        self.connection = connection
        self.reader = reader
        self.parts = parts
        self.announcements = announcements
        self.organization = principal.organization

    @abstractmethod
    def begin(self) -> None:
        """Somebody signed in."""

    @abstractmethod
    async def hear(self, message: Message) -> None:
        """A message of one of the `types`."""

    @abstractmethod
    def end(self) -> None:
        """The connection is at its end; called once for every `begin`."""


async def converse(request: web.Request, kind: type[Conversation]) -> web.StreamResponse:
    """Serves a WebSocket. Raises Problem 426 for a request that asks for none, 403 for a caller who may not read."""
    parse_query(request, SocketQuery)
    parts, readers = services(request), request.config_dict[READERS]
    principal = request.get(PRINCIPAL)
    if principal is not None and not principal.allows("read"):
        raise Problem(403, "this needs the scope read")
    address = neighbourhood(client_address(request))
    readers.require_room(principal, address)
    connection = Connection(request)
    await connection.open()
    reader = Reader(principal, connection.transport, sent=lambda: connection.sent, address=address)
    connection.on_overrun = lambda: reader.end("overrun")
    code, reason = int(WSCloseCode.OK), ""
    sending = asyncio.create_task(connection.send_always(), name="socket-sender")
    gauge = parts.observation.streams.labels(kind.mode)
    gauge.inc()
    try:
        with readers.reading(reader):
            await _talk(request, connection, reader, kind)
    except Closed as closed:
        code, reason = closed.code, closed.reason
    except ConnectionError as error:
        log.debug("socket_gone", reason=type(error).__name__)
    except Exception:
        log.exception("socket_failed", mode=kind.mode)
        code, reason = _ENDS["failed"]
    finally:
        gauge.dec()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    if reader.ended is not None:
        code, reason = _ENDS[reader.ended]
    await connection.close(code, reason)
    return connection.socket


async def _talk(request: web.Request, connection: Connection, reader: Reader, kind: type[Conversation]) -> None:
    """Lets the other side in, then hears it until it leaves. Raises Closed."""
    parts, wanted = services(request), wanted_organization(request)
    principal = reader.principal
    if principal is None:
        principal = await first_message(connection, parts.authenticator, wanted)
        if principal is None:
            return
        _belongs(request, reader, principal)
    welcome(connection, principal)
    conversation = kind(connection, reader, parts, request.config_dict[ANNOUNCEMENTS], principal)
    conversation.begin()
    try:
        while reader.open and (text := await connection.receive()) is not None:
            try:
                message = understood(text)
            except NotUnderstood as error:
                connection.reply(failure(str(error)))
                continue
            if message.type == "auth":
                await _renew(request, connection, reader, message)
            elif message.type in kind.types:
                await conversation.hear(message)
            else:
                known = ("auth", *kind.types)
                connection.reply(failure(f"{message.type[:64]}: is not a type of message here", known))
    finally:
        conversation.end()


async def _renew(request: web.Request, connection: Connection, reader: Reader, message: Message) -> None:
    """A newer token for the same organization: the connection lasts as long as that one. Raises Closed."""
    authenticator, wanted = services(request).authenticator, wanted_organization(request)
    principal = await signed_in(connection, message, authenticator, wanted)
    if reader.principal is not None and principal.organization != reader.principal.organization:
        raise Closed(NOT_ALLOWED, "a connection stays in its organization; open another one")
    _belongs(request, reader, principal)
    welcome(connection, principal)


def _belongs(request: web.Request, reader: Reader, principal: Principal) -> None:
    """The connection is this principal's from now on. Raises Closed where they have as many as they may."""
    try:
        request.config_dict[READERS].change(reader, principal)
    except Problem as problem:
        raise Closed(TOO_MANY, problem.detail) from None
