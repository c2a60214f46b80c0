"""The bounds that callers meet, from the settings: limits, origins, proxies, times."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.client_address import Proxies
from api.connections import Times
from api.cors import Cors
from api.edge import Edge
from api.headers import strict_transport
from api.limits.rates import Rates
from api.limits.shared import SharedLimits
from api.limits.sign_ins import SignIns
from front.settings import InvalidSetting, Settings, variable


@asynccontextmanager
async def bounds(settings: Settings) -> AsyncIterator[Edge]:
    """The bounds, kept together with other processes' while the block runs where Redis is set. Raises InvalidSetting."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            proxies = Proxies(_listed(settings.trusted_proxies))
        except ValueError as error:
            raise InvalidSetting(f"{variable('trusted_proxies')}: {error}") from None
        try:
            cors = Cors(origin.rstrip("/") for origin in _listed(settings.cors_origins))
        except ValueError as error:
            raise InvalidSetting(f"{variable('cors_origins')}: {error}") from None
        rates = Rates(
            requests_per_minute=settings.requests_per_minute,
            anonymous_requests_per_minute=settings.anonymous_requests_per_minute,
            events_per_second=settings.events_per_second,
        )
        shared = None
        if settings.redis_url is not None:
            try:
                shared = SharedLimits(settings.redis_url)
            except ValueError as error:
                raise InvalidSetting(f"{variable('redis_url')}: {error}") from None
            stack.push_async_callback(shared.close)
            sharing = asyncio.create_task(shared.run(rates.all()), name="shared-limits")
            stack.push_async_callback(_ended, sharing)
        yield Edge(
            rates=rates,
            sign_ins=SignIns(settings.sign_ins_per_minute, shared=shared),
            proxies=proxies,
            cors=cors,
            always=strict_transport(settings.public_url),
            request_s=settings.request_seconds,
            streams_per_credential=settings.streams_per_credential,
            waiting_sockets_per_address=settings.waiting_sockets_per_address,
        )


def connection_times(settings: Settings) -> Times:
    """How long connections may take."""
    return Times(head_s=settings.head_seconds, body_s=settings.body_seconds)


def _listed(text: str | None) -> list[str]:
    return [] if text is None else [one.strip() for one in text.split(",") if one.strip()]


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
