"""The response cache that the settings ask for."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.cache.answers import LIFE_S, ResponseCache
from api.cache.commit_mark import CommitMark
from api.cache.second_level import SecondLevel
from front.settings import InvalidSetting, Settings, variable
from storage.database import Database


@asynccontextmanager
async def response_cache(settings: Settings, database: Database) -> AsyncIterator[ResponseCache | None]:
    """The cache with its second level and its mark, while the block runs; None where none is wanted. Raises InvalidSetting."""
    async with contextlib.AsyncExitStack() as stack:
        if settings.cache_entries == 0:
            yield None
            return
        second = None
        if settings.redis_url is not None:
            try:
                second = SecondLevel(settings.redis_url, life_s=LIFE_S)
            except ValueError as error:
                raise InvalidSetting(f"{variable('redis_url')}: {error}") from None
            stack.push_async_callback(second.close)
        mark = None
        if path := settings.commit_mark or (settings.data / "commit-mark" if settings.workers > 1 else None):
            mark = CommitMark(path)
            stack.callback(mark.close)
        yield ResponseCache(
            database,
            most_bytes=settings.cache_bytes,
            most_entries=settings.cache_entries,
            second=second,
            mark=mark,
        )
