"""Access tokens: what a verifier of an issuer's tokens is, and our own issuer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import jwt

ACCESS_TOKEN_LIFETIME = timedelta(minutes=30)
CLOCK_LEEWAY = timedelta(seconds=30)
LONGEST_TOKEN = 8192
"""Characters; what is longer is not looked into."""

LEAST_SECRET = 32


class TokenRefused(Exception):
    """The token is not one of this issuer's, or it is not valid (any more). Its text is safe to show."""


@dataclass(frozen=True)
class About:
    """What an issuer says about a subject beside its name. It is data to be shown: nobody is let in, or found again, by any of it.

    All of it is bounded text without control characters; `avatar_url` is an http or https address.
    """

    email: str | None = None
    name: str | None = None
    username: str | None = None
    avatar_url: str | None = None


@dataclass(frozen=True)
class Verified:
    """What a valid token says: who, according to whom, since when and until when."""

    issuer: str
    subject: str
    expires_at: datetime
    issued_at: datetime | None = None
    about: About = About()


class TokenVerifier(Protocol):
    """The tokens of one issuer. Every verifier is bound to one algorithm family and one set of keys."""

    @property
    def issuer(self) -> str:
        """Exactly what stands in its tokens' `iss`."""

    async def verify(self, token: str) -> Verified:
        """What the token says; raises TokenRefused. It may fetch keys."""


def issuer_of(token: str) -> str:
    """What an unverified token claims in `iss`, only to choose the verifier that checks it; raises TokenRefused."""
    if len(token) > LONGEST_TOKEN or not token.isascii():
        raise TokenRefused("the access token is not valid")
    try:
        return str(jwt.decode(token, options={"verify_signature": False}).get("iss"))
    except (jwt.PyJWTError, RecursionError) as error:
        raise TokenRefused("the access token is not valid") from error


class OwnTokens:
    """Our own issuer: HS256 and nothing else, for 30 minutes or as long as is set."""

    issuer = "streamgauge"
    audience = "streamgauge"
    _algorithm = "HS256"
    _header = {"alg": _algorithm, "typ": "JWT"}  # noqa: RUF012  (never changed)
    # PyJWT lets padding pass, which nobody signed: one token has one text.
    _shape = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

    def __init__(self, secret: bytes, *, lifetime: timedelta = ACCESS_TOKEN_LIFETIME) -> None:
        """Raises ValueError for a secret of less than 32 bytes."""
        if len(secret) < LEAST_SECRET:
            raise ValueError(f"the secret of access tokens has {len(secret)} bytes; it needs at least {LEAST_SECRET}")
        self._secret = secret
        self.lifetime = lifetime

    def issue(self, account: UUID, *, now: datetime) -> str:
        """A token that says it comes from this account. What the account may do is looked up when the token is used."""
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": str(account),
            "iat": now,
            "exp": now + self.lifetime,
        }
        return jwt.encode(claims, self._secret, algorithm=self._algorithm)

    async def verify(self, token: str) -> Verified:
        """The account's id as the subject; raises TokenRefused."""
        if len(token) > LONGEST_TOKEN or not self._shape.fullmatch(token):
            raise TokenRefused("the access token is not valid")
        try:
            # Our tokens have this header only. What asks to be looked at (kid, jku, jwk, crit) is somebody else's.
            if jwt.get_unverified_header(token) != self._header:
                raise TokenRefused("the access token is not valid")
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[self._algorithm],
                issuer=self.issuer,
                audience=self.audience,
                leeway=CLOCK_LEEWAY,
                options={"require": ["exp", "iat", "sub", "iss", "aud"], "strict_aud": True},
            )
        except jwt.ExpiredSignatureError as error:
            raise TokenRefused("the access token has expired") from error
        except (jwt.PyJWTError, RecursionError) as error:
            raise TokenRefused("the access token is not valid") from error
        return Verified(self.issuer, claims["sub"], datetime.fromtimestamp(int(claims["exp"]), UTC))
