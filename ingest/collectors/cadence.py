"""A steady beat: ticks at fixed distances that never drift, and that are skipped, not bunched, where one was missed."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable


async def beats(
    interval: float = 1.0,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[int]:
    """Yields once every `interval` seconds, first after one interval, how many beats were missed since the last one."""
    start = monotonic()
    beat = 0
    while True:
        elapsed = monotonic() - start
        following = max(beat + 1, math.ceil(elapsed / interval))
        missed = following - beat - 1
        beat = following
        await sleep(max(0.0, start + beat * interval - monotonic()))
        yield missed
