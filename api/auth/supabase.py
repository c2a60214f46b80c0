"""Supabase's access tokens: HS256 by the project's secret, or RS256 and ES256 by its key set; one of the two."""

from __future__ import annotations

from typing import Any

import jwt

from api.auth.foreign_tokens import checked, checked_by_key_set, claimed_time, not_valid, strict_header
from api.auth.jwks import KeySet
from api.auth.tokens import LEAST_SECRET, About, Verified
from api.shown_text import LONGEST_EMAIL_TEXT, LONGEST_NAME, text_from, web_address_from
from api.username import username_from

SUPABASE_AUDIENCE = "authenticated"
SUPABASE_ALGORITHMS = ("RS256", "ES256")
"""Those of its key set. Each key is for one of them."""

_SECRETS_ALGORITHM = "HS256"
_TYPES = frozenset({"jwt"})


class SupabaseTokens:
    """The tokens of the project whose issuer is `issuer`, checked by its secret or by its key set.

    Raises ValueError for a secret that is shorter than 32 bytes or that is no secret but a published key.
    """

    def __init__(self, issuer: str, keys: bytes | KeySet) -> None:
        if isinstance(keys, bytes):
            if len(keys) < LEAST_SECRET:
                raise ValueError(f"has {len(keys)} bytes; it needs at least {LEAST_SECRET}")
            try:
                jwt.get_algorithm_by_name(_SECRETS_ALGORITHM).prepare_key(keys)
            except jwt.InvalidKeyError as error:
                raise ValueError("is a public key or a certificate, which is no secret") from error
        self.issuer = issuer
        self._keys = keys

    async def verify(self, token: str) -> Verified:
        """Who it is; raises TokenRefused and KeysUnavailable."""
        claims = await self._claims(token)
        # The project's own keys (`anon`, `service_role`) are tokens too, and an anonymous sign-in is nobody in particular.
        if claims.get("role", SUPABASE_AUDIENCE) != SUPABASE_AUDIENCE or claims.get("is_anonymous", False) is not False:
            raise not_valid()
        return Verified(
            self.issuer, claims["sub"], claimed_time(claims["exp"]), claimed_time(claims["iat"]), _about(claims)
        )

    async def _claims(self, token: str) -> Any:
        if isinstance(self._keys, KeySet):
            header = strict_header(token, SUPABASE_ALGORITHMS, _TYPES)
            return await checked_by_key_set(token, header, self._keys, self.issuer, SUPABASE_AUDIENCE)
        strict_header(token, (_SECRETS_ALGORITHM,), _TYPES)
        return checked(token, self._keys, _SECRETS_ALGORITHM, self.issuer, SUPABASE_AUDIENCE)


def _about(claims: dict[str, Any]) -> About:
    """`user_metadata` is what users write about themselves: any JSON at all."""
    given = claims.get("user_metadata")
    said: dict[str, Any] = given if isinstance(given, dict) else {}
    names = [username_from(said.get(name)) for name in ("username", "user_name", "preferred_username")]
    return About(
        email=text_from(claims.get("email"), LONGEST_EMAIL_TEXT),
        name=text_from(said.get("full_name"), LONGEST_NAME) or text_from(said.get("name"), LONGEST_NAME),
        username=next((name for name in names if name), None),
        avatar_url=web_address_from(said.get("avatar_url")) or web_address_from(said.get("picture")),
    )
