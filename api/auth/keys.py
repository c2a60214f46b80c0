"""API keys: `sg_<8 characters of prefix>_<secret>`. The prefix finds a key, the digest of the whole proves it."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from api.auth.fresh import Fresh
from storage.database import Database
from storage.identity import ApiKey, digest, find_api_key

_SHAPE = re.compile(r"sg_([a-z2-7]{8})_[A-Za-z0-9_-]{43,128}")


@dataclass(frozen=True)
class NewKey:
    """A key as it is shown once, and the two parts that are stored."""

    text: str = field(repr=False)
    prefix: str
    digest: bytes = field(repr=False)


def mint(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> NewKey:
    """A new key: 40 bits of prefix, 256 bits of secret."""
    prefix = base64.b32encode(random_bytes(5)).decode().lower()
    secret = base64.urlsafe_b64encode(random_bytes(32)).decode().rstrip("=")
    text = f"sg_{prefix}_{secret}"
    return NewKey(text, prefix, digest(text))


def looks_like_key(text: str) -> bool:
    """Whether a bearer's credential is meant to be an API key, rather than an access token."""
    return text.startswith("sg_")


class Keys:
    """Verifies API keys. A revoked one stops working within a second: the database is asked again after that time."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fresh: Fresh[str, ApiKey] = Fresh(lambda prefix: find_api_key(database, prefix), clock=clock)

    async def verify(self, text: str) -> ApiKey | None:
        """The key, or None for one that is unknown, revoked or malformed."""
        return (await self.verified(text))[0]

    async def verified(self, text: str) -> tuple[ApiKey | None, float]:
        """The same, and until when on the clock that may be believed."""
        match = _SHAPE.fullmatch(text)
        if match is None:
            return None, 0.0
        key, until = await self._fresh.dated(match[1])
        return (key if key is not None and hmac.compare_digest(key.digest, digest(text)) else None), until

    async def holds(self, prefix: str) -> bool:
        """Whether the key with this prefix, verified before, is still not revoked."""
        return await self._fresh.get(prefix) is not None
