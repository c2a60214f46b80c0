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
from ingest.reserved import ALERT_SOURCE
from storage.database import Database, QueryTooSlow, StorageUnavailable
from storage.report_alerts import ReportAlert, claim_alerts, forget_alerts, release_alerts

log = structlog.get_logger(__name__)

LEASE_S = 60.0
"""Alerts whose teller died are another's to tell after so long."""
LOOK_S = 30.0
"""How often is looked for alerts that no notice told of: those that the log could not take."""

PublishAlerts = Callable[[UUID, list[Event]], Awaitable[None]]
"""Has an organization's events counted, each once, and returns when they are safe. Raises Unavailable."""


class AlertTeller:
    """Publishes alerts while it runs. One is forgotten when its event is accepted; told again meanwhile, it has the same number."""

    def __init__(self, database: Database, publish: PublishAlerts, *, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._publish = publish
        self._lease_s = lease_s
        self._wake = asyncio.Event()

    def look(self) -> None:
        """There may be an alert."""
        self._wake.set()

    async def run(self) -> None:
        """Tells alerts until it is cancelled."""
        while True:
            self._wake.clear()
            try:
                while await self.tell():
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

    async def tell(self) -> bool:
        """Tells those that can be claimed; False where there are none. No transaction waits for the log.

        Raises Unavailable where the log does not take them, and what Database raises.
        """
        alerts = await claim_alerts(self._database, lease_s=self._lease_s)
        by_organization: dict[UUID, list[ReportAlert]] = defaultdict(list)
        for alert in alerts:
            by_organization[alert.organization].append(alert)
        try:
            for organization, told in by_organization.items():
                await self._publish(organization, _events(told))
                await forget_alerts(self._database, told)
        except BaseException:
            await self._release(alerts)
            raise
        return bool(alerts)

    async def _release(self, alerts: Sequence[ReportAlert]) -> None:
        try:
            await release_alerts(self._database, alerts)
        except (StorageUnavailable, QueryTooSlow) as error:
            log.warning("alerts_not_released", reason=str(error))


def _events(alerts: Sequence[ReportAlert]) -> list[Event]:
    return [
        EnterpriseEvent(
            specversion="1.0",
            id=alert.key,
            source=ALERT_SOURCE,
            sequence=alert.number,
            time=alert.happened_at,
            data=Enterprise(metrics={alert.metric: Decimal(1)}),
        )
        for alert in alerts
    ]
