"""Those who get reports: an SMTP server and a receiver of webhooks, both real, in the test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope

from api.serve import serving
from tests.integration.api_service import free_port


@dataclass
class Inbox:
    """A mail server: what it took, and whom it refuses with which answer. `logins` are all that somebody signed in with."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: Any) -> str:  # noqa: N802
        """Refuses whom it was told to."""
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        """Takes the mail, or gives the next of `answers`."""
        if self.answers:
            return self.answers.pop(0)
        assert isinstance(envelope.content, bytes)
        self.envelopes.append((str(envelope.mail_from), list(envelope.rcpt_tos)))
        self.mails.append(cast(EmailMessage, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 taken"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        """Lets `me` in with `secret`."""
        self.logins.append((given.login, given.password))
        return AuthResult(success=(given.login, given.password) == (b"me", b"secret"))


@asynccontextmanager
async def mail_server(**options: Any) -> AsyncIterator[Inbox]:
    """An SMTP server without TLS."""
    inbox = Inbox(free_port())
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(inbox, hostname="mail.test", authenticator=inbox.authenticate, auth_require_tls=False, **options),
        "127.0.0.1",
        inbox.port,
    )
    try:
        yield inbox
    finally:
        server.close()
        await server.wait_closed()


@dataclass
class Posted:
    """One request to a webhook."""

    headers: dict[str, str]
    body: bytes
    path: str


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Hooks:
    """A receiver of webhooks: what was posted, and the answers that it gives before it says yes."""

    url: str = ""
    posted: list[Posted] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """Notes the request and answers."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.posted.append(Posted(headers, await request.read(), request.path))
        if self.answers:
            return await self.answers.pop(0)(request)
        return web.Response(text="thanks")


@asynccontextmanager
async def hook_receiver() -> AsyncIterator[Hooks]:
    """A receiver on a free port."""
    hooks = Hooks()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", hooks.receive)
    async with serving(app, "127.0.0.1", free_port()) as port:
        hooks.url = f"http://127.0.0.1:{port}/hook"
        yield hooks


def status(code: int, **headers: str) -> Answer:
    """An answer with a status."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer
