"""Notices: short messages that a transaction sends with its commit to whoever listens, for what is not in the feed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec
import psycopg
import structlog
from psycopg.sql import SQL, Identifier

from storage.database import AsyncConn, Database

log = structlog.get_logger(__name__)

DEPLOYMENTS = "streamgauge_deployments"
"""An organization's deployments changed; the payload is the organization's id."""
COMPARISONS = "streamgauge_comparisons"
"""A comparison moved on; the payload is a ComparisonNotice in JSON."""
REPORT_ASKED = "streamgauge_report_asked"
"""A report was asked for; the payload is the run's id."""
REPORT_OVER = "streamgauge_report_over"
"""A report's run succeeded, failed or was cancelled; the payload is its id."""
REPORT_MOVED = "streamgauge_report_moved"
"""A report's run came a step further, the payload is its id; or an organization's line of them did, the payload is that one's id."""
REPORT_SCHEDULED = "streamgauge_report_scheduled"
"""A schedule of reports was added or changed; the payload is the organization's id."""
REPORT_DELIVERY = "streamgauge_report_delivery"
"""A report is to be handed over, or an alert to be told; the payload is the run's id."""

_SILENT_S = 30.0
_START_S = 5.0


class ComparisonNotice(msgspec.Struct, frozen=True):
    """How far a comparison of models is. `progress` in percent."""

    organization: UUID
    comparison_id: str
    status: str
    progress: float | None = None


async def announce_comparison(connection: AsyncConn, notice: ComparisonNotice) -> None:
    """Tells of a comparison when the caller's transaction commits."""
    await connection.execute("select pg_notify(%s, %s)", (COMPARISONS, msgspec.json.encode(notice).decode()))


class NoticeListener:
    """Hears the notices of some channels, in the order of the commits.

    After a connection was lost, notices may have been missed: `on_gap` is called when it listens again, the first time too.
    """

    def __init__(
        self,
        database: Database,
        channels: Sequence[str],
        on_notice: Callable[[str, str], None],
        on_gap: Callable[[], None],
    ) -> None:
        self._database = database
        self._channels = channels
        self._on_notice = on_notice
        self._on_gap = on_gap
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def start(self) -> None:
        """Begins to listen, and returns when it does; after some seconds in any case, since it goes on trying."""
        self._task = asyncio.create_task(self._run(), name="notice-listener")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                await self._listening.wait()

    async def stop(self) -> None:
        """Ends listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except psycopg.Error as error:
                log.warning("notice_listener_lost", reason=type(error).__name__)
                await asyncio.sleep(0.5)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self._database.url, autocommit=True, application_name="streamgauge notices", connect_timeout=5
        )
        async with connection:
            for channel in self._channels:
                await connection.execute(SQL("listen {}").format(Identifier(channel)))
            self._on_gap()
            self._listening.set()
            while True:
                async for notice in connection.notifies(timeout=_SILENT_S):
                    self._on_notice(notice.channel, notice.payload)
                # A connection that died without a word is found out.
                await connection.execute("select 1")
