"""Auth0's access tokens: RS256 by its key set, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.auth.foreign_tokens import checked_by_key_set, claimed_time, strict_header
from api.auth.jwks import KeySet
from api.auth.tokens import About, Verified
from api.shown_text import LONGEST_EMAIL_TEXT, LONGEST_NAME, text_from

AUTH0_ALGORITHMS = ("RS256",)
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""Auth0 writes `JWT`, or with the profile of RFC 9068 `at+jwt`."""


class Auth0Tokens:
    """The tokens that `issuer` (with its slash at the end, as Auth0 writes it) issues for our `audience`."""

    def __init__(self, issuer: str, audience: str, keys: KeySet) -> None:
        self.issuer = issuer
        self._audience = audience
        self._keys = keys

    async def verify(self, token: str) -> Verified:
        """Who it is; raises TokenRefused and KeysUnavailable."""
        header = strict_header(token, AUTH0_ALGORITHMS, _TYPES)
        claims = await checked_by_key_set(token, header, self._keys, self.issuer, self._audience)
        about = About(
            email=text_from(_claim(claims, "email"), LONGEST_EMAIL_TEXT),
            name=text_from(_claim(claims, "name"), LONGEST_NAME),
        )
        return Verified(self.issuer, claims["sub"], claimed_time(claims["exp"]), claimed_time(claims["iat"]), about)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or under a namespace: Auth0 lets an Action add claims to access tokens as `https://…/name` only."""
    if name in claims:
        return claims[name]
    return next((value for key, value in claims.items() if key.startswith("http") and key.endswith(f"/{name}")), None)
