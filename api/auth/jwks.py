"""An issuer's key set: fetched over HTTPS when a token needs it, kept, and fetched again as keys rotate, but never in a flood."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

import aiohttp
import structlog

from api.auth.public_keys import NotKeys, PublicKey, usable_keys

log = structlog.get_logger(__name__)

FRESH_S = 600.0
"""A set that is older is fetched again before it is used: a key that was withdrawn is good for so long."""
STALE_S = 24 * 3600.0
"""As long as fetching fails, the set that there is goes on being used up to this age."""
AGAIN_S = 30.0
"""Between two fetches at least, however many unknown `kid` are asked for."""
AFTER_FAILURE_S = 5.0
TIME_LIMIT_S = 3.0
MOST_BYTES = 128 * 1024

_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


class KeysUnavailable(Exception):
    """The issuer's keys cannot be had now, so that nobody can say whether a token is good. It can be tried again."""


class KeySet:
    """The keys at a URL by their `kid`, for these algorithms. `kid` is a key of a dictionary, and nothing else is made of it.

    Raises ValueError for a URL that is not https (http is let through to this machine itself, for tests and development).
    """

    def __init__(
        self,
        url: str,
        algorithms: Collection[str],
        *,
        time_limit_s: float = TIME_LIMIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        require_https(url)
        self.url = url
        self._algorithms = frozenset(algorithms)
        self._time_limit = aiohttp.ClientTimeout(total=time_limit_s)
        self._clock = clock
        self._keys: dict[str, PublicKey] = {}
        self._fetched = float("-inf")
        self._begun = float("-inf")
        self._failing = False
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> PublicKey | None:
        """The key; None where the issuer has none of that name. Raises KeysUnavailable."""
        if kid not in self._keys or self._age() >= FRESH_S:
            fetch = self._fetch()
            # Where fetching failed the last time, who can be answered does not wait for the next attempt.
            if fetch is not None and not (self._failing and self._known(kid)):
                # One caller who goes away does not take the fetch from the others.
                await asyncio.shield(fetch)
        if self._known(kid):
            return self._keys[kid]
        if self._failing or self._age() >= STALE_S:
            raise KeysUnavailable(f"the keys at {self.url} cannot be fetched")
        return None

    def _age(self) -> float:
        return self._clock() - self._fetched

    def _known(self, kid: str) -> bool:
        return kid in self._keys and self._age() < STALE_S

    def _fetch(self) -> asyncio.Task[None] | None:
        """The fetch that is under way, or a new one where it is time; else None."""
        if self._fetching is None:
            if self._clock() - self._begun < (AFTER_FAILURE_S if self._failing else AGAIN_S):
                return None
            self._begun = self._clock()
            self._fetching = asyncio.create_task(self._replace())
            self._fetching.add_done_callback(self._done)
        return self._fetching

    def _done(self, _: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _replace(self) -> None:
        """Puts the fetched set in the place of the old one; where that fails the old one stays."""
        try:
            document = await self._document()
            self._keys = usable_keys(document, self._algorithms)
        except (aiohttp.ClientError, TimeoutError, OSError, NotKeys) as error:
            self._failing = True
            log.warning("keys_not_fetched", url=self.url, reason=str(error) or type(error).__name__, age_s=self._age())
            return
        self._failing = False
        self._fetched = self._begun
        log.info("keys_fetched", url=self.url, keys=len(self._keys))

    async def _document(self) -> bytes:
        # Neither redirects nor cookies nor compression: what is read is what stands at this address, and bounded.
        async with (
            aiohttp.ClientSession(
                timeout=self._time_limit, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            ) as session,
            session.get(
                self.url,
                allow_redirects=False,
                headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "streamgauge"},
            ) as answer,
        ):
            if answer.status != 200:
                raise NotKeys(f"the answer has the status {answer.status}, expected 200")
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise NotKeys(f"the answer has more than {MOST_BYTES} bytes")
            return bytes(body)


def require_https(url: str) -> None:
    """Raises ValueError for anything but an https URL, or an http one of this machine itself."""
    try:
        parts = urlsplit(url)
        good = parts.port is None or parts.port > 0
    except ValueError:
        good = False
    if (
        not good
        or not url.isascii()
        or not parts.hostname
        or "@" in parts.netloc
        or parts.fragment
        or not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL))
    ):
        raise ValueError("expected an https:// address (http:// only to 127.0.0.1 or localhost)")
