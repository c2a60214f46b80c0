"""A job process that stops at a step of every delivery, for a test that kills it there."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from random import Random

from jobs.delivery.deliverer import Channels, report_deliveries
from jobs.delivery.folder import ReportFolder
from jobs.delivery.handover import Channel, Handover
from jobs.delivery.webhook import WebhookPoster
from storage.database import Database
from tests.integration.api_service import utc_now
from tests.integration.delivery_service import mailer

STEPS = ("before", "yes", "committed")


class Stopping:
    """A channel that tells when it is at a step, and goes no further."""

    def __init__(self, channel: Channel, step: str) -> None:
        self._channel = channel
        self._step = step

    async def hand_over(self, handover: Handover) -> None:
        if self._step != "before":
            await self._channel.hand_over(handover)
        if self._step != "committed":
            print(self._step, flush=True)
            await asyncio.Event().wait()


async def _work(url: str, step: str, port: int, folder: str) -> None:
    database = Database(url)
    await database.open()

    async def publish(*_: object) -> None:
        raise AssertionError("nothing is given up here")

    async with report_deliveries(
        database,
        Channels(
            webhook=Stopping(WebhookPoster(private=True), step),
            mail=Stopping(mailer(port), step),
            store=Stopping(ReportFolder(Path(folder)), step),
        ),
        links=None,
        publish=publish,
        counted=lambda _, outcome: print("committed" if outcome == "delivered" else outcome, flush=True),
        now=utc_now,
        random=Random(1),
        lease_s=1,
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
