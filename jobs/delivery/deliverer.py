"""Hands finished reports to their recipients: claims a delivery, hands it over, commits the yes; or tries again later, or gives up."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Protocol

import msgspec
import structlog

from jobs.delivery.alerts import AlertTeller, PublishAlerts
from jobs.delivery.handover import LINK_LASTS, Channel, DeliveryRefused, Handover, NotDelivered
from jobs.delivery.retries import wait_after
from jobs.hands import Hands, Lease
from storage.database import Database, QueryTooSlow, StorageUnavailable
from storage.notices import REPORT_DELIVERY, NoticeListener
from storage.organizations import organization_name
from storage.report_deliveries import MOST_DELIVERY_ATTEMPTS, ClaimedDelivery, DeliveryWork, FinishedRun
from storage.report_links import DownloadLinks
from storage.report_recipients import Mail, Recipient, Store, Webhook

log = structlog.get_logger(__name__)

AT_ONCE = 4
"""Deliveries that a process makes at once: one slow receiver does not hold up the others."""
LEASE_S = 60.0
"""A delivery whose process was not heard for so long is another's to claim."""
LOOK_S = 5.0
"""How often is looked for deliveries that no notice told of: those that are due again."""
LONGEST_S = 300.0
"""How long handing one over may take."""
LAST_S = 5.0
"""How long a process that is stopped waits for what it is handing over, so that a yes is not lost."""


@dataclass(frozen=True)
class Channels:
    """The ways that the settings allow; None where one is not set up."""

    webhook: Channel
    mail: Channel | None = None
    store: Channel | None = None


class CountAttempt(Protocol):
    """Is told what became of an attempt: the recipient's kind, and `delivered`, `postponed`, `dead` or `cancelled`."""

    def __call__(self, kind: str, outcome: str) -> None: ...


_NOT_SET_UP = {
    "mail": "this service sends no mail: STREAMGAUGE_SMTP_URL and STREAMGAUGE_MAIL_FROM are not set",
    "store": "this service stores no reports: STREAMGAUGE_REPORT_STORE is not set",
}


@asynccontextmanager
async def report_deliveries(
    database: Database,
    channels: Channels,
    *,
    links: DownloadLinks | None,
    publish: PublishAlerts,
    counted: CountAttempt,
    now: Callable[[], dt.datetime],
    random: Random,
    lease_s: float = LEASE_S,
    look_s: float = LOOK_S,
) -> AsyncIterator[None]:
    """Hands reports over while the block does. Any number of processes may: each delivery is one's at a time.

    `links` makes the addresses in mails and webhooks, None where nobody knows how people reach the service. `publish` takes alerts.
    """
    alerts = AlertTeller(database, publish)
    deliverer = Deliverer(database, channels, links=links, counted=counted, now=now, random=random, lease_s=lease_s)
    hands = Hands("delivery", deliverer.claim, lease_s=lease_s, look_s=look_s)

    def look() -> None:
        hands.look()
        alerts.look()

    listener = NoticeListener(database, (REPORT_DELIVERY,), lambda *_: look(), look)
    await listener.start()
    telling = asyncio.create_task(alerts.run(), name="report-alerts")
    try:
        async with hands.at_work(AT_ONCE, last_s=LAST_S):
            yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        await listener.stop()


class Deliverer:
    """The deliveries that this process makes."""

    def __init__(
        self,
        database: Database,
        channels: Channels,
        *,
        links: DownloadLinks | None,
        counted: CountAttempt,
        now: Callable[[], dt.datetime],
        random: Random,
        lease_s: float,
    ) -> None:
        self._database = database
        self._channels: Mapping[str, Channel | None] = vars(channels)
        self._links = links
        self._counted = counted
        self._now = now
        self._random = random
        self._work = DeliveryWork(database, lease_s=lease_s)

    async def claim(self) -> Lease | None:
        """The next delivery to make, for one of the Hands."""
        delivery, given_up = await self._work.claim(self._now())
        for kind in given_up:
            log.error("delivery_dead", kind=kind, reason="the process that handed it over ended each time")
            self._counted(kind, "dead")
        if delivery is None:
            return None
        return Lease(
            {"key": delivery.key},
            work=partial(self._deliver, delivery),
            renew=partial(self._work.renew, delivery),
            release=partial(self._work.release, delivery),
        )

    async def _deliver(self, delivery: ClaimedDelivery) -> None:
        run = await self._work.content(delivery)
        if run is None:
            return
        recipient = msgspec.json.decode(delivery.recipient, type=Recipient)
        kind = _kind(recipient)
        if run.schedule is None:
            # Whoever deletes a schedule wants nothing more of it.
            await self._ended(delivery, kind, "cancelled", self._work.cancel(delivery, "its schedule was deleted"))
            return
        try:
            channel = self._channels[kind]
            if channel is None:
                raise DeliveryRefused(_NOT_SET_UP[kind])
            handover = await self._handover(delivery, recipient, run)
            async with asyncio.timeout(LONGEST_S):
                await channel.hand_over(handover)
        except (StorageUnavailable, QueryTooSlow):
            raise
        except DeliveryRefused as error:
            await self._give_up(delivery, kind, str(error))
        except NotDelivered as error:
            await self._again(delivery, kind, str(error), error.retry_after)
        except TimeoutError:
            await self._again(delivery, kind, f"it took longer than {LONGEST_S:g} s", 0)
        except Exception:
            log.exception("delivery_failed", key=delivery.key, kind=kind)
            await self._again(delivery, kind, "an error of the service, which is in its log", 0)
        else:
            await self._delivered(delivery, kind)

    async def _delivered(self, delivery: ClaimedDelivery, kind: str) -> None:
        """Commits the yes, however long the database is away: until it is committed the report may be handed over again."""
        while True:
            try:
                await self._ended(delivery, kind, "delivered", self._work.delivered(delivery, self._now()))
                return
            except (StorageUnavailable, QueryTooSlow) as error:
                log.warning("delivery_not_committed", key=delivery.key, reason=str(error))
            await asyncio.sleep(1)

    async def _again(self, delivery: ClaimedDelivery, kind: str, reason: str, retry_after: float) -> None:
        if delivery.attempts >= MOST_DELIVERY_ATTEMPTS:
            await self._give_up(delivery, kind, reason)
            return
        next_at = self._now() + wait_after(delivery.attempts, retry_after, self._random)
        log.warning("delivery_postponed", key=delivery.key, kind=kind, attempts=delivery.attempts, reason=reason)
        await self._ended(delivery, kind, "postponed", self._work.postpone(delivery, reason, next_at))

    async def _give_up(self, delivery: ClaimedDelivery, kind: str, reason: str) -> None:
        log.error(
            "delivery_dead",
            key=delivery.key,
            kind=kind,
            organization=str(delivery.organization),
            attempts=delivery.attempts,
            reason=reason,
        )
        await self._ended(delivery, kind, "dead", self._work.give_up(delivery, reason, self._now()))

    async def _ended(self, delivery: ClaimedDelivery, kind: str, outcome: str, said: Awaitable[bool]) -> None:
        if await said:
            self._counted(kind, outcome)
        else:
            log.warning("delivery_lost", key=delivery.key, kind=kind, outcome=outcome)

    async def _handover(self, delivery: ClaimedDelivery, recipient: Recipient, run: FinishedRun) -> Handover:
        async with self._database.read(delivery.organization) as connection:
            name = await organization_name(connection)
        now, url = self._now(), None
        if self._links is not None and run.status == "succeeded":
            url = self._links.address(delivery.organization, delivery.run, now + LINK_LASTS)
        return Handover(
            key=delivery.key,
            id=delivery.run,
            organization=delivery.organization,
            organization_name=name,
            recipient=recipient,
            run=run,
            artefact=lambda: self._work.artefact(delivery),
            download_url=url,
            now=now,
        )


def _kind(recipient: Recipient) -> str:
    match recipient:
        case Mail():
            return "mail"
        case Webhook():
            return "webhook"
        case Store():
            return "store"
