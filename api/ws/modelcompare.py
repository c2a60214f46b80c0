"""`/ws`: ModelCompare's dashboard hears how its hosts are and how comparisons go on."""

from __future__ import annotations

from aiohttp import web

from api.dashboard import dashboard_stats
from api.routing import ENCODER
from api.ws.conversation import Conversation, converse
from api.ws.following import Following
from api.ws.messages import Message, write
from storage.notices import ComparisonNotice


class ModelCompare(Conversation):
    """Tells `system_metrics` at once and at every change, at most once a second, and every `comparison_update`."""

    mode = "ws"

    def begin(self) -> None:
        """Follows both."""
        self._metrics = Following(
            self.parts.hub, self.connection, self.reader, self.organization, "system", "system_metrics", self._ask
        )
        self.announcements.follow(self.organization, self)

    async def _ask(self) -> bytes:
        async with self.parts.hub.asking:
            found = await dashboard_stats(self.parts.database, self.organization, self.parts.now(), None)
        return ENCODER.encode(found.stats.system_metrics)

    def compared(self, notice: ComparisonNotice) -> None:
        """Of each comparison the newest state waits for the reader."""
        data = {"comparison_id": notice.comparison_id, "status": notice.status, "progress": notice.progress}
        self.connection.tell(f"comparison {notice.comparison_id}", write("comparison_update", data))

    def missed(self) -> None:
        """Comparisons may have moved on unheard: the reader asks for those it shows."""
        self.connection.tell(
            "reset", write("reset", {"reason": "updates may have been missed", "as_of": self.parts.now()})
        )

    async def hear(self, message: Message) -> None:
        """There is nothing to ask for."""

    def end(self) -> None:
        """Follows nothing any more."""
        self.announcements.leave(self.organization, self)
        self._metrics.leave()


async def modelcompare(request: web.Request) -> web.StreamResponse:
    """A WebSocket of JSON messages (docs/live.md). The first one signs in, `{"type": "auth", "token": "…"}`, or a header or a ticket does.

    Then come `system_metrics` (at once, at every change, at most once a second) and `comparison_update`.
    """
    return await converse(request, ModelCompare)
