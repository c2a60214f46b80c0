"""The keys of a JWKS (RFC 7517) that tokens may be checked with: public, for signatures, strong enough, each for one algorithm."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec
import structlog

log = structlog.get_logger(__name__)

LONGEST_KEY_ID = 256
_MOST_KEYS = 100
_RSA_BITS = (2048, 8192)
_FAMILIES = {"RSA": "RS256", "EC": "ES256"}
"""What kind of key goes with which algorithm, whatever a token says."""


@dataclass(frozen=True)
class PublicKey:
    """A key and the one algorithm that it is for."""

    algorithm: str
    material: Any


class NotKeys(Exception):
    """The document is no JWKS, or none of its keys can be used."""


def usable_keys(document: bytes, algorithms: Collection[str]) -> dict[str, PublicKey]:
    """By `kid` the keys that are for one of these algorithms; others are left out and logged. Raises NotKeys where none is left.

    Where a `kid` stands twice the first usable one counts.
    """
    try:
        listed = msgspec.json.decode(document)["keys"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError) as error:
        raise NotKeys("the answer is no JWKS") from error
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise NotKeys(f"keys: expected a list of at most {_MOST_KEYS}")
    found: dict[str, PublicKey] = {}
    for number, entry in enumerate(listed):
        try:
            kid, key = _read(entry, algorithms)
        except NotKeys as reason:
            log.info("key_left_out", number=number, reason=str(reason))
        else:
            found.setdefault(kid, key)
    if not found:
        raise NotKeys("none of the keys can be used")
    return found


def _read(entry: Any, algorithms: Collection[str]) -> tuple[str, PublicKey]:
    if not isinstance(entry, dict):
        raise NotKeys("is no key")
    algorithm = _FAMILIES.get(entry.get("kty", "")) if isinstance(entry.get("kty"), str) else None
    if algorithm not in algorithms or algorithm is None:
        raise NotKeys("kty: not of this issuer's family")
    if entry.get("alg", algorithm) != algorithm:
        raise NotKeys(f"alg: expected {algorithm}")
    if entry.get("use", "sig") != "sig":
        raise NotKeys("use: expected sig")
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise NotKeys("key_ops: expected verify")
    if "d" in entry:
        raise NotKeys("a private key that is published protects nothing")
    kid = entry.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= LONGEST_KEY_ID:
        raise NotKeys(f"kid: expected 1 to {LONGEST_KEY_ID} characters")
    if algorithm == "ES256" and entry.get("crv") != "P-256":
        raise NotKeys("crv: expected P-256")
    try:
        material = jwt.PyJWK.from_dict(entry, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise NotKeys("the key cannot be read") from error
    if algorithm == "RS256" and not _RSA_BITS[0] <= material.key_size <= _RSA_BITS[1]:
        raise NotKeys(f"n: has {material.key_size} bits, expected {_RSA_BITS[0]} to {_RSA_BITS[1]}")
    return kid, PublicKey(algorithm, material)
