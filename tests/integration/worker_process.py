"""A worker in a process of its own that ends at a step: `python -m tests.integration.worker_process SERVERS PREFIX URL STEP NUMBER`.

STEP is `put-away` (the dead letters are in Kafka, nothing is in the database), `before-commit`, `after-commit` (Kafka has not been
told) or `told` (it has), NUMBER how often that is passed before it ends; at `never` it works until it is killed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

from ingest.kafka.cluster import Cluster
from ingest.kafka.consumer import LogConsumer
from ingest.log import Outcome
from jobs.storing import Storing
from storage.database import Database
from tests.integration.log_worker import Bench, HeardByWorker


class Ending(HeardByWorker):
    """Ends the process once so many commits have been heard of."""

    step = "never"
    left = 0

    def passed(self, step: str) -> None:
        """A step of the work is done."""
        if step == self.step:
            self.left -= 1
            if self.left <= 0:
                os._exit(9)

    def committed(self, outcome: Outcome, seconds: float) -> None:
        """The database has it; Kafka is told next."""
        self.passed("after-commit")


async def main(servers: str, prefix: str, url: str, step: str, number: str) -> None:
    """Works until its step."""
    heard = Ending()
    heard.step, heard.left = step, int(number)
    telling, putting = LogConsumer.commit, Storing._put_away

    async def told(self: LogConsumer, offsets: Mapping[tuple[str, int], int]) -> None:
        await telling(self, offsets)
        heard.passed("told")

    async def put_away(self: Storing, dead: object) -> None:
        await putting(self, dead)  # type: ignore[arg-type]
        if dead:
            heard.passed("put-away")

    LogConsumer.commit = told  # type: ignore[method-assign]
    Storing._put_away = put_away  # type: ignore[method-assign]
    database = Database(url)
    await database.open()
    bench = Bench(servers, url, database, 1)
    bench.cluster = Cluster(servers, prefix=prefix)
    async with bench.worker(
        before_commit=lambda _: heard.passed("before-commit"), group_events=10, heard=heard
    ) as running:
        print("working", flush=True)
        await running.task


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
