"""`view` events: what people do with videos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import msgspec

from ingest.events.envelope import Data, Event, InvalidEvent, Text

Action = Literal["view", "like", "dislike", "unlike", "undislike", "share", "complete"]

REACTIONS = {"like": "like", "dislike": "dislike", "unlike": None, "undislike": None}
"""The actions that set a person's current reaction to a video, and what they set it to."""


class View(Data):
    """One action of one person on one video.

    `creator_id`: who made the video. `user_id` or, for somebody not signed in, `session_id`: who acted; one of the two is needed.
    `watch_ms`: how long was watched, in milliseconds, at most 24 hours. The event's `time` is when it happened.
    """

    video_id: Text
    creator_id: Text
    action: Action
    user_id: Text | None = None
    session_id: Text | None = None
    watch_ms: Annotated[int, msgspec.Meta(ge=0, le=86_400_000)] | None = None

    def check(self) -> None:
        """Checks that somebody acted."""
        if self.user_id is None and self.session_id is None:
            raise InvalidEvent("data.user_id: user_id or session_id is needed")

    @classmethod
    def settle(cls, many: Sequence[Self]) -> bool:
        """Whether somebody acted in each of them."""
        return all(view.user_id is not None or view.session_id is not None for view in many)

    @property
    def viewer(self) -> str:
        """Who acted, in one name in which accounts and browser sessions cannot collide."""
        return f"u:{self.user_id}" if self.user_id is not None else f"s:{self.session_id}"


class ViewEvent(Event, tag="view"):
    """A CloudEvent of type `view`."""

    kind = "view"
    data: View
