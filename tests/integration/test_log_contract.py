"""One contract, two logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from aggregators.definitions import ROLLUPS
from ingest.direct import DirectLog
from storage.dead_letters import DeadLetters
from storage.sink import DatabaseSink
from tests.integration.log_contract import LogContract, Opened
from tests.integration.log_worker import Bench, log_bench
from tests.integration.test_direct_log_commits import Commits


class Direct:
    """Nothing to wait for."""

    async def settled(self) -> None:
        """It is."""

    async def put_away(self) -> list[str]:
        """Whoever sent it was told."""
        return []


@dataclass
class Worked:
    """A worker counts."""

    bench: Bench

    async def settled(self) -> None:
        """Waits for it."""
        await self.bench.drained()

    async def put_away(self) -> list[str]:
        """Its dead letters."""
        return [row.reason for row in await DeadLetters(self.bench.database).listed(limit=None, reason=None)]


class TestDirectLog(LogContract):
    """The direct log over the sink."""

    @asynccontextmanager
    async def opened(self, url: str, *, queue_events: int = 100_000) -> AsyncIterator[Opened]:
        """A log that is closed at the end."""
        sink = DatabaseSink(url, ROLLUPS)
        log = DirectLog(sink, Commits(), queue_events=queue_events)
        try:
            yield Opened(log, Direct())
        finally:
            await log.close()
            sink.close()


class TestKafkaLog(LogContract):
    """Kafka's log with a worker."""

    @pytest.fixture(autouse=True)
    def broker(self, kafka: str) -> None:
        """The broker that is used."""
        self._servers = kafka

    @asynccontextmanager
    async def opened(self, url: str, *, queue_events: int = 100_000) -> AsyncIterator[Opened]:
        """A log that is closed at the end."""
        async with (
            log_bench(self._servers, url) as bench,
            bench.log(queue_events=queue_events) as log,
            bench.worker(),
        ):
            yield Opened(log, Worked(bench))
