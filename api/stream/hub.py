"""The hub: hears of commits once and wakes every stream that they concern."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from uuid import UUID

from api.observation import Observation
from api.stream.tail import END, Cursor, Tail
from api.stream.topic import Topic
from storage.database import Database
from storage.feed import Commit, FeedListener, reach

ASKED_AT_ONCE = 4
"""Questions of streams that are read at the same time. A commit may concern a thousand: requests still find connections free."""


class Follower(Protocol):
    """Who wants to hear of every commit, and of when there was none."""

    def reading(self) -> Any:
        """The feed is about to be read; what this returns is handed back to `read`."""

    def read(self, reading: Any) -> None:
        """It was read to its end, and all commits from before `reading` were told."""

    def commits(self, commits: Sequence[Commit]) -> None:
        """These were committed."""

    def gap(self) -> None:
        """Commits may have been missed."""


class Hub:
    """Tells topics, tails and followers of commits. One an API process."""

    def __init__(self, database: Database, observation: Observation, *, interval_s: float = 1.0) -> None:
        self._database = database
        self._observation = observation
        self._interval_s = interval_s
        self._topics: dict[tuple[UUID, str, str], Topic] = {}
        self._concerned: dict[tuple[UUID, str], set[Topic]] = {}
        self._tails: dict[UUID, Tail] = {}
        self._followers: list[Follower] = []
        self._listener = FeedListener(database, self._commits, self.change_all, on_reading=self._reading)
        self.closing = asyncio.Event()
        self.asking = asyncio.Semaphore(ASKED_AT_ONCE)

    @property
    def position(self) -> int:
        """The newest commit heard of."""
        return self._listener.position

    async def start(self) -> None:
        """Begins to listen."""
        await self._listener.start()

    async def stop(self) -> None:
        """Ends every stream, then the listening."""
        self.closing.set()
        for tail in self._tails.values():
            tail.wake()
        for topic in self._topics.values():
            topic.stop()
        await self._listener.stop()

    def follow(self, follower: Follower) -> None:
        """Tells it from now on."""
        self._followers.append(follower)

    def _reading(self) -> Callable[[], None]:
        readings = [(follower, follower.reading()) for follower in self._followers]

        def read() -> None:
            for follower, reading in readings:
                follower.read(reading)

        return read

    def _commits(self, commits: Sequence[Commit]) -> None:
        for follower in self._followers:
            follower.commits(commits)
        self._observation.feed_position.set(commits[-1].position)
        touched = {(commit.organization, commit.kind) for commit in commits}
        for organization, kind in touched:
            self.change(organization, kind)
        for organization in {organization for organization, _ in touched}:
            if organization in self._tails:
                self._tails[organization].wake()

    def change(self, organization: UUID, kind: str) -> None:
        """Something of a kind changed, an event's or another's: what concerns it is asked again."""
        for topic in self._concerned.get((organization, kind), ()):
            topic.change()

    def change_kind(self, kind: str) -> None:
        """The same for every organization: changes of this kind may have been missed."""
        for (_, concerned), topics in self._concerned.items():
            if concerned == kind:
                for topic in topics:
                    topic.change()

    def change_all(self) -> None:
        """Something may have been missed: everything is asked again."""
        for follower in self._followers:
            follower.gap()
        for topic in self._topics.values():
            topic.change()
        for tail in self._tails.values():
            tail.wake()

    def join_topic(
        self,
        organization: UUID,
        kind: str,
        key: str,
        ask: Callable[[], Awaitable[bytes]],
        wire: Callable[[bytes], bytes],
        follower: Callable[[], None],
    ) -> Topic:
        """The topic of a question, which the follower follows from now on. Who asks the same shares it. Leave it with `leave_topic`."""
        name = (organization, kind, key)
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(ask, self._interval_s, wire)
            self._concerned.setdefault((organization, kind), set()).add(topic)
            topic.start()
        topic.followers.add(follower)
        return topic

    def leave_topic(self, organization: UUID, kind: str, key: str, follower: Callable[[], None]) -> None:
        """A follower is gone; the last one ends the topic."""
        name = (organization, kind, key)
        topic = self._topics[name]
        topic.followers.discard(follower)
        if not topic.followers:
            topic.stop()
            del self._topics[name]
            self._concerned[organization, kind].discard(topic)
            if not self._concerned[organization, kind]:
                del self._concerned[organization, kind]

    def join_tail(self, organization: UUID) -> Tail:
        """The newest events of an organization. Leave it with `leave_tail`."""
        tail = self._tails.get(organization)
        if tail is None:
            tail = self._tails[organization] = Tail(self._database, organization, self.position)
        tail.followers += 1
        return tail

    def leave_tail(self, organization: UUID) -> None:
        """A follower is gone; the last one ends the tail."""
        tail = self._tails[organization]
        tail.followers -= 1
        if not tail.followers:
            del self._tails[organization]

    async def lost(self, cursor: Cursor) -> str | None:
        """Why a cursor cannot be continued: the feed no longer reaches back to it, or it is from another database's future."""
        first, head = await reach(self._database)
        if cursor[0] > head:
            return "cursor unknown"
        # Of a commit that is gone nobody can say whether there was an item behind the cursor's.
        return "cursor too old" if cursor < (first - 1, END) else None
