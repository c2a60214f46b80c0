"""An issuer of each kind that is believed, with its verifier, for the tests of other issuers' tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from api.auth.auth0 import AUTH0_ALGORITHMS, Auth0Tokens
from api.auth.jwks import KeySet
from api.auth.supabase import SUPABASE_ALGORITHMS, SupabaseTokens
from api.auth.tokens import TokenRefused, TokenVerifier
from tests.integration.key_server import Issuer, KeyServer, ec_key, key_server, published, rsa_key

SECRET = b"the secret of a Supabase project"
AUTH0 = "https://acme.eu.auth0.com/"
SUPABASE = "https://acme.supabase.co/auth/v1"
AUDIENCE = "https://gauge.example.com"
KINDS = ("auth0", "supabase by secret", "supabase by key set")


@dataclass
class World:
    """An issuer of each kind that is believed, the verifier of its tokens, and the server of its keys."""

    issuers: dict[str, Issuer]
    verifiers: dict[str, TokenVerifier]
    servers: dict[str, KeyServer]

    @property
    def asked(self) -> int:
        """How often keys were asked for."""
        return sum(server.asked for server in self.servers.values())


@asynccontextmanager
async def believed() -> AsyncIterator[World]:
    """Issuers and verifiers while the block runs."""
    async with (
        key_server(published("one", rsa_key("auth0"))) as auth0,
        key_server(published("one", ec_key("supabase")), published("rsa", rsa_key("supabase"))) as supabase,
    ):
        yield World(
            issuers={
                "auth0": Issuer(AUTH0, AUDIENCE, "one", rsa_key("auth0")),
                "supabase by secret": Issuer(SUPABASE, "authenticated", "one", SECRET),
                "supabase by key set": Issuer(SUPABASE, "authenticated", "one", ec_key("supabase")),
            },
            verifiers={
                "auth0": Auth0Tokens(AUTH0, AUDIENCE, KeySet(auth0.url, AUTH0_ALGORITHMS)),
                "supabase by secret": SupabaseTokens(SUPABASE, SECRET),
                "supabase by key set": SupabaseTokens(SUPABASE, KeySet(supabase.url, SUPABASE_ALGORITHMS)),
            },
            servers={"auth0": auth0, "supabase by key set": supabase},
        )


async def refused(verifier: TokenVerifier, *tokens: str) -> None:
    """Every one of them, and with words that tell nothing but that it may have expired."""
    for token in tokens:
        with pytest.raises(TokenRefused) as caught:
            await verifier.verify(token)
        assert str(caught.value) in ("the access token is not valid", "the access token has expired")
