"""What the verifiers of other issuers' tokens have in common: a strict header, and claims that are checked with one key."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import jwt

from api.auth.jwks import KeySet
from api.auth.public_keys import LONGEST_KEY_ID
from api.auth.tokens import CLOCK_LEEWAY, LONGEST_TOKEN, TokenRefused
from api.shown_text import LONGEST_SUBJECT, text_from

# Padding would make a second text of a token.
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_REQUIRED = ["exp", "iat", "sub", "iss", "aud"]


def strict_header(token: str, algorithms: Collection[str], types: Collection[str]) -> dict[str, Any]:
    """The header of a token that may be one of the issuer's; raises TokenRefused.

    What a header says of keys (`jku`, `x5u`, `x5c`, `jwk`) is never looked at: keys are the issuer's, from where the settings say.
    """
    if len(token) > LONGEST_TOKEN or not _SHAPE.fullmatch(token):
        raise not_valid()
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, RecursionError) as error:
        raise not_valid() from error
    algorithm, type_ = header.get("alg"), header.get("typ")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise not_valid()
    if not isinstance(type_, str) or type_.lower() not in types:
        raise not_valid()
    # Whatever must be understood is not: we know no extension. Nor is anything but a plain, signed payload one.
    if "crit" in header or "b64" in header or "enc" in header or "zip" in header:
        raise not_valid()
    return header


async def checked_by_key_set(token: str, header: Mapping[str, Any], keys: KeySet, issuer: str, audience: str) -> Any:
    """The claims of a token that one of the issuer's published keys signed; raises TokenRefused and KeysUnavailable."""
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= LONGEST_KEY_ID:
        raise not_valid()
    key = await keys.find(kid)
    # A key has one algorithm. Which one a token names must agree with it, and decides nothing.
    if key is None or key.algorithm != header["alg"]:
        raise not_valid()
    return checked(token, key.material, key.algorithm, issuer, audience)


def checked(token: str, key: Any, algorithm: str, issuer: str, audience: str) -> dict[str, Any]:
    """The claims of a token that this key signed for us, and that is of now; raises TokenRefused."""
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuer,
            audience=audience,
            leeway=CLOCK_LEEWAY,
            options={"require": _REQUIRED},
        )
    except jwt.ExpiredSignatureError as error:
        raise TokenRefused("the access token has expired") from error
    except (jwt.PyJWTError, RecursionError, OverflowError, ValueError, TypeError) as error:
        raise not_valid() from error
    subject = claims["sub"]
    if not isinstance(subject, str) or subject != text_from(subject, LONGEST_SUBJECT):
        raise not_valid()
    return claims


def claimed_time(seconds: Any) -> datetime:
    """A time of a claim that was checked; raises TokenRefused for one that no calendar has."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError, TypeError) as error:
        raise not_valid() from error


def not_valid() -> TokenRefused:
    """The same words whatever is wrong: who tries learns nothing from them."""
    return TokenRefused("the access token is not valid")
