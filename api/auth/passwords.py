"""Passwords: argon2id, off the event loop, and as slow for somebody who does not exist as for somebody who does."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from api.errors import Problem

MOST_CHARACTERS = 1024
"""A longer password is refused before it is hashed."""


class Passwords:
    """Hashes and verifies, `at_once` at a time (64 MiB and about 0.2 s of a core each).

    Beyond `waiting` more it raises Problem 503: a flood of sign-ins must not take the memory and the time of all else.
    """

    def __init__(self, *, at_once: int = 2, waiting: int = 32, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._slots = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._inside = 0
        self._nobody = self._hash_of_nobody()

    async def hash(self, password: str) -> str:
        """The encoded hash, parameters and salt included."""
        async with self._slot():
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, password: str, encoded: str | None) -> bool:
        """Whether it is the password that was hashed. Without `encoded` (an unknown user): False, in the same time."""
        async with self._slot():
            matches = await asyncio.to_thread(self._matches, password, encoded or self._nobody)
        return matches and encoded is not None

    def _matches(self, password: str, encoded: str) -> bool:
        try:
            return self._hasher.verify(encoded, password)
        except VerifyMismatchError:
            return False

    def _hash_of_nobody(self) -> str:
        """A hash of no password that anybody knows, with the current parameters; random bytes, so it costs nothing."""
        hasher = self._hasher
        sizes = (hasher.salt_len, hasher.hash_len)
        salt, tail = (base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in sizes)
        parameters = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
        return f"$argon2id$v=19${parameters}${salt}${tail}"

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._inside >= self._most:
            raise Problem(503, "too many people are signing in at once", headers={"Retry-After": "5"})
        self._inside += 1
        try:
            async with self._slots:
                yield
        finally:
            self._inside -= 1
