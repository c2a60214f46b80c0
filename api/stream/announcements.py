"""Announcements: what changes without an event. Deployments are asked again, comparisons told as they are."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

import msgspec
import structlog
from aiohttp import web

from api.report_waiting import RunWaiters
from api.stream.hub import Hub
from storage.database import Database
from storage.notices import COMPARISONS, DEPLOYMENTS, REPORT_MOVED, REPORT_OVER, ComparisonNotice, NoticeListener

log = structlog.get_logger(__name__)

DEPLOYMENT = "deployment"
"""The kind of topics that deployments concern (see Hub.change)."""


class ComparisonFollower(Protocol):
    """Who is told how comparisons go on."""

    def compared(self, notice: ComparisonNotice) -> None:
        """A comparison moved on."""

    def missed(self) -> None:
        """Comparisons may have moved on unheard."""


class Announcements:
    """Hears notices once and tells whoever follows. One an API process."""

    def __init__(self, database: Database, hub: Hub, runs: RunWaiters) -> None:
        self._hub = hub
        self._runs = runs
        self._followers: dict[UUID, set[ComparisonFollower]] = {}
        channels = (DEPLOYMENTS, COMPARISONS, REPORT_OVER, REPORT_MOVED)
        self._listener = NoticeListener(database, channels, self._heard, self._gap)

    async def start(self) -> None:
        """Begins to listen."""
        await self._listener.start()

    async def stop(self) -> None:
        """Ends listening."""
        await self._listener.stop()

    def follow(self, organization: UUID, follower: ComparisonFollower) -> None:
        """The follower is told of the organization's comparisons until it leaves."""
        self._followers.setdefault(organization, set()).add(follower)

    def leave(self, organization: UUID, follower: ComparisonFollower) -> None:
        """The follower is gone."""
        followers = self._followers.get(organization, set())
        followers.discard(follower)
        if not followers:
            self._followers.pop(organization, None)

    def _heard(self, channel: str, payload: str) -> None:
        try:
            if channel == DEPLOYMENTS:
                self._hub.change(UUID(payload), DEPLOYMENT)
                return
            if channel == REPORT_OVER:
                self._runs.over(UUID(payload))
                return
            if channel == REPORT_MOVED:
                self._runs.moved(UUID(payload))
                return
            notice = msgspec.json.decode(payload, type=ComparisonNotice)
        except (ValueError, msgspec.DecodeError):
            log.warning("notice_not_understood", channel=channel)
            return
        for follower in list(self._followers.get(notice.organization, ())):
            follower.compared(notice)

    def _gap(self) -> None:
        self._hub.change_kind(DEPLOYMENT)
        self._runs.missed()
        for followers in list(self._followers.values()):
            for follower in list(followers):
                follower.missed()


ANNOUNCEMENTS = web.AppKey("announcements", Announcements)
"""Where the application holds them."""
