"""What went wrong for good, told as an event of the organization: a report that failed, a delivery that was given up."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from uuid import UUID

import structlog

from ingest.events import Event
from ingest.events.enterprise import Enterprise, EnterpriseEvent
from ingest.log import Unavailable
from storage.database import Database, QueryTooSlow, StorageUnavailable
from storage.report_deliveries import ReportAlert, tell_alerts

log = structlog.get_logger(__name__)

SOURCE = "streamgauge/reports"
LOOK_S = 30.0
"""How often is looked for alerts that no notice told of: those that the log could not take."""

PublishAlerts = Callable[[UUID, list[Event]], Awaitable[None]]
"""Has an organization's events counted, each once, and returns when they are safe. Raises Unavailable."""


class AlertTeller:
    """Publishes alerts while it runs. One is forgotten when its event is accepted; told again meanwhile, it has the same id."""

    def __init__(self, database: Database, publish: PublishAlerts) -> None:
        self._database = database
        self._publish = publish
        self._wake = asyncio.Event()

    def look(self) -> None:
        """There may be an alert."""
        self._wake.set()

    async def run(self) -> None:
        """Tells alerts until it is cancelled."""
        while True:
            self._wake.clear()
            try:
                while await tell_alerts(self._database, self._tell):
                    pass
            except (StorageUnavailable, QueryTooSlow, Unavailable) as error:
                log.warning("alerts_not_told", reason=str(error))
            except Exception:
                log.exception("alerts_not_told")
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _tell(self, alerts: Sequence[ReportAlert]) -> None:
        events: dict[UUID, list[Event]] = defaultdict(list)
        for alert in alerts:
            events[alert.organization].append(
                EnterpriseEvent(
                    specversion="1.0",
                    id=alert.key,
                    source=SOURCE,
                    time=alert.happened_at,
                    data=Enterprise(metrics={alert.metric: Decimal(1)}),
                )
            )
        for organization, told in events.items():
            await self._publish(organization, told)
