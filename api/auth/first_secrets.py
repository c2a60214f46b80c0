"""The password and the API key of a new deployment."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from api.auth.keys import mint
from api.auth.passwords import Passwords
from storage.bootstrap import FirstSecrets


async def first_secrets(
    passwords: Passwords, random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> FirstSecrets:
    """A random password (144 bits, 36 hexadecimal digits) and a key, for `storage.bootstrap.bootstrap`."""
    password, key = random_bytes(18).hex(), mint(random_bytes)
    return FirstSecrets(
        password=password,
        password_hash=await passwords.hash(password),
        api_key=key.text,
        key_prefix=key.prefix,
        key_digest=key.digest,
    )
