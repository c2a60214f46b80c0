"""`/ws/dashboard`: OpsSight's dashboard subscribes to live metrics and deployments, or asks for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from aiohttp import web

from api.deployments import ShownDeployment, shown_deployment
from api.live_metrics import LiveMetrics, live_metrics
from api.routing import ENCODER
from api.services import Services
from api.stream.announcements import DEPLOYMENT
from api.ws.conversation import Conversation, converse
from api.ws.following import Following
from api.ws.messages import Message, failure
from storage.deployments import newest_deployments

NEWEST = 20
"""So many deployments are told."""

Read = Callable[[Services, UUID], Awaitable[Any]]
"""Reads what an organization is told: a value that becomes JSON."""


@dataclass(frozen=True)
class Subject:
    """Something to subscribe to: the kind that changes it (of events, or see Hub.change), its messages' type, and how it is read."""

    kind: str
    type: str
    read: Read


SUBJECTS = web.AppKey("subjects", dict[str, Subject])
"""Where the application holds what there is to subscribe to, by name."""


def subjects() -> dict[str, Subject]:
    """What there is."""
    return {
        "metrics": Subject("system", "metrics", _metrics),
        "deployments": Subject(DEPLOYMENT, "deployment_status", _deployments),
    }


async def _metrics(parts: Services, organization: UUID) -> LiveMetrics:
    """What `GET /api/v1/metrics` answers."""
    return await live_metrics(parts.database, organization, parts.now(), parts.cache_hit_rate)


async def _deployments(parts: Services, organization: UUID) -> dict[str, list[ShownDeployment]]:
    """The newest deployments, as `GET /api/v1/deployments` lists them."""
    found = await newest_deployments(parts.database, organization, NEWEST)
    return {"deployments": [shown_deployment(one) for one in found]}


_REQUESTS = {
    "request_metrics": "metrics",
    "requestMetrics": "metrics",
    "request_deployment_status": "deployments",
    "requestDeploymentStatus": "deployments",
}


class OpsSight(Conversation):
    """Tells what was subscribed to at once and at every change, at most once a second; and anything when it is asked for."""

    types = ("subscribe", "unsubscribe", *_REQUESTS)
    mode = "ws_dashboard"

    def begin(self) -> None:
        """Nothing is told before it is asked for."""
        self._known = self.connection.request.config_dict[SUBJECTS]
        self._followed: dict[str, Following] = {}

    async def hear(self, message: Message) -> None:
        """A subscription, its end, or a request."""
        known = self._known
        if message.type in _REQUESTS:
            topic = _REQUESTS[message.type]
            if topic in known:
                await self._answer(topic)
            else:
                self.connection.reply(failure(f"there are no {topic} here", tuple(known)))
            return
        for topic in message.topics or ():
            if topic not in known:
                self.connection.reply(failure(f"topics: there is no {topic[:64]}", tuple(known)))
            elif message.type == "subscribe" and topic not in self._followed:
                self._followed[topic] = self._follow(topic)
            elif message.type == "unsubscribe" and topic in self._followed:
                self._followed.pop(topic).leave()
        if not message.topics:
            self.connection.reply(failure("topics: expected a list of names", tuple(known)))

    async def _answer(self, topic: str) -> None:
        followed = self._followed.get(topic)
        following = followed or self._follow(topic)
        try:
            if not await following.again() and self.reader.open:
                self.connection.reply(failure(f"{topic} cannot be read now; ask again"))
        finally:
            if followed is None:
                following.leave()

    def _follow(self, topic: str) -> Following:
        subject = self._known[topic]
        return Following(
            self.parts.hub,
            self.connection,
            self.reader,
            self.organization,
            subject.kind,
            subject.type,
            partial(_read, subject, self.parts, self.organization),
        )

    def end(self) -> None:
        """Follows nothing any more."""
        for following in self._followed.values():
            following.leave()


async def _read(subject: Subject, parts: Services, organization: UUID) -> bytes:
    async with parts.hub.asking:
        return ENCODER.encode(await subject.read(parts, organization))


async def opssight(request: web.Request) -> web.StreamResponse:
    """A WebSocket of JSON messages (docs/live.md). The first one signs in, `{"type": "auth", "token": "…"}`, or a header or a ticket does.

    Then `{"type": "subscribe", "topics": ["metrics", "deployments"]}`, or `request_metrics`, `request_deployment_status`.
    """
    return await converse(request, OpsSight)
