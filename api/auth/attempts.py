"""How often somebody may fail to sign in: a sliding window for each address and e-mail, in this process."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

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
        now = self._clock()
        times = self._begun.setdefault(who, deque())
        self._begun.move_to_end(who)
        while times and now - times[0] >= self._seconds:
            times.popleft()
        if len(times) >= self._limit:
            return self._seconds - (now - times[0])
        times.append(now)
        if len(self._begun) > self._most:
            self._begun.popitem(last=False)
        return 0.0

    def succeed(self, who: Who) -> None:
        """Forgets the attempts of somebody who knew the password."""
        self._begun.pop(who, None)
