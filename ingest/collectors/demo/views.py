"""The demo's audience: a few hundred people and strangers who watch thirty videos of twelve creators, and say what they think."""

from __future__ import annotations

from random import Random

import msgspec

from ingest.events import View


class Video(msgspec.Struct, frozen=True):
    """A video. `pull` is how often it is chosen beside the others, `quality` the share of reactions that are likes."""

    video_id: str
    creator_id: str
    pull: float
    quality: float
    length_ms: int


CREATORS = (
    "demo-aurora-films",
    "demo-bytefield",
    "demo-cinder",
    "demo-dreamloop",
    "demo-echo-park",
    "demo-fernweh",
    "demo-glasshouse",
    "demo-halcyon",
    "demo-inkwell",
    "demo-juniper",
    "demo-kitebird",
    "demo-lumen",
)
VIDEOS_PER_CREATOR = (4, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2)
VIEWERS = 240


def simulated_videos(random: Random) -> tuple[Video, ...]:
    """Returns the thirty videos, a few of which draw most of the audience."""
    made = []
    for creator, videos in zip(CREATORS, VIDEOS_PER_CREATOR, strict=True):
        talent = random.betavariate(6, 2)
        for number in range(1, videos + 1):
            quality = min(0.98, max(0.2, talent + random.uniform(-0.12, 0.12)))
            length = random.randrange(8_000, 95_000, 500)
            made.append(Video(f"{creator}-{number}", creator, random.paretovariate(1.3), quality, length))
    return tuple(made)


def visit(videos: tuple[Video, ...], random: Random) -> list[tuple[float, View]]:
    """Returns what one person does with one video, each with the seconds after the beginning of the visit."""
    video = random.choices(videos, [video.pull for video in videos])[0]
    known = random.random() < 0.85
    who = int(VIEWERS * random.random() ** 1.7)  # some come much more often than others
    watched = 1.0 if random.random() < 0.3 + 0.5 * video.quality else random.uniform(0.05, 0.9)
    watch_ms = round(video.length_ms * watched)

    def act(action: str, watched_ms: int | None = None) -> View:
        return msgspec.convert(
            {
                "video_id": video.video_id,
                "creator_id": video.creator_id,
                "action": action,
                "watch_ms": watched_ms,
                "user_id": f"demo-viewer-{who:03}" if known else None,
                "session_id": None if known else f"demo-visit-{random.getrandbits(40):010x}",
            },
            View,
        )

    acts = [(0.0, act("view", watch_ms))]
    if watched == 1.0:
        acts.append((0.2, act("complete")))
    if known and random.random() < 0.22:
        liked = random.random() < video.quality
        acts.append((0.4, act("like" if liked else "dislike")))
        if random.random() < 0.04:
            acts.append((0.6, act("unlike" if liked else "undislike")))
    if random.random() < 0.04:
        acts.append((0.8, act("share")))
    return acts
