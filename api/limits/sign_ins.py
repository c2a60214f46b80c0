"""How often somebody may fail to sign in: by address, by account, and by both, in this process or, with Redis, in all of them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from api.auth.attempts import Attempts
from api.client_address import neighbourhood
from api.limits.shared import SharedLimits
from storage.identity import digest

WINDOW_S = 60.0
_MOST_KNOWN = 20_000


@dataclass(frozen=True)
class Begun:
    """An attempt: the seconds to wait before there may be one, or 0. `shared` is what Redis calls it."""

    wait: float
    address: str
    account: str
    shared: str | None = None


class SignIns:
    """At most `limit` failed attempts a minute from an address, and for an account.

    Whoever fails for an account from anywhere must not keep its owner out: from an address where the account has signed in
    before, its attempts are counted by themselves. An attempt counts from its beginning, so that many at once are not free; one
    that succeeds is taken back from the address (with an account of one's own one cannot buy guesses at others'). A request
    without an address (on a Unix socket) is counted for its account only.
    """

    def __init__(
        self,
        limit: int = 5,
        *,
        shared: SharedLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._attempts = Attempts(limit=limit, seconds=WINDOW_S, clock=clock)
        self._shared = shared
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def begin(self, address: str | None, account: str) -> Begun:
        """Counts an attempt. 0 as limit is none."""
        place, who = neighbourhood(address), account.lower()
        if self._limit == 0:
            return Begun(0.0, place, who)
        names = self._names(place, who)
        wait = self._attempts.begin_all(names)
        if wait > 0 or self._shared is None:
            return Begun(wait, place, who)
        begun = await self._shared.begin([_text(name) for name in names], self._limit, WINDOW_S)
        if begun is None:
            return Begun(0.0, place, who)
        if begun[0] > 0:
            self._attempts.take_back(names)
        return Begun(begun[0], place, who, begun[1])

    async def succeed(self, begun: Begun) -> None:
        """Whoever began knew the password."""
        if self._limit == 0:
            return
        names = self._names(begun.address, begun.account)
        own = [name for name in names if name[0] != "address"]
        for name in own:
            self._attempts.succeed(name)
        others = [name for name in names if name[0] == "address"]
        self._attempts.take_back(others)
        if begun.address:
            self._known[begun.address, begun.account] = None
            self._known.move_to_end((begun.address, begun.account))
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        if self._shared is not None and begun.shared is not None:
            await self._shared.succeed([_text(n) for n in own], [_text(n) for n in others], begun.shared)

    def _names(self, address: str, account: str) -> list[tuple[str, str]]:
        known = (address, account) in self._known
        own = ("here", f"{address} {account}") if known else ("account", account)
        return [own, ("address", address)] if address else [own]


def _text(name: tuple[str, str]) -> str:
    """A name in Redis, where nobody needs to read who signs in."""
    return f"sign-in:{digest(':'.join(name)).hex()[:32]}"
