"""The demo: a past of thirty days, then a second at a time, for an organization that says so in its name."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable

from ingest.events import Event


async def run_demo(publish: Callable[[list[Event]], Awaitable[None]], now: Callable[[], dt.datetime]) -> None:
    """Publishes until it is cancelled."""
