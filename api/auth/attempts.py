"""How often somebody may fail to sign in: a sliding window for each address and e-mail, in this process."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

Who = tuple[str, str]


class Attempts:
    """At most `limit` failed attempts in `seconds`. One counts from its beginning: many at once are not free."""

    def __init__(
        self,
        *,
        limit: int = 5,
        seconds: float = 60.0,
        most: int = 20_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._begun: OrderedDict[Who, deque[float]] = OrderedDict()

    def begin(self, who: Who) -> float:
        """Counts an attempt and returns 0; where there were too many, counts none and returns the seconds to wait."""
        return self.begin_all((who,))

    def begin_all(self, whos: Sequence[Who]) -> float:
        """The same for several at once: it counts for all of them, or for none where one of them has to wait."""
        now = self._clock()
        wait = max(self._wait(who, now) for who in whos)
        if wait > 0:
            return wait
        for who in whos:
            self._begun.setdefault(who, deque()).append(now)
            self._begun.move_to_end(who)
        while len(self._begun) > self._most:
            self._begun.popitem(last=False)
        return 0.0

    def _wait(self, who: Who, now: float) -> float:
        times = self._begun.get(who)
        if times is None:
            return 0.0
        self._begun.move_to_end(who)
        while times and now - times[0] >= self._seconds:
            times.popleft()
        return self._seconds - (now - times[0]) if len(times) >= self._limit else 0.0

    def take_back(self, whos: Sequence[Who]) -> None:
        """The newest attempt of each was none."""
        for who in whos:
            if times := self._begun.get(who):
                times.pop()

    def succeed(self, who: Who) -> None:
        """Forgets the attempts of somebody who knew the password."""
        self._begun.pop(who, None)
