"""How long the creators' boards take to show a view, with many creators and reactions behind them."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import random
import time
from dataclasses import dataclass
from statistics import median

import psycopg
from psycopg.sql import SQL, Literal

from aggregators.definitions.view import VIDEO_ENGAGEMENT
from bench.service import Service
from storage.rollup_sql import table

LIMIT_S = 5.0
"""How long a view may take to be on the boards."""

_VIDEOS = 5
_PATIENCE_S = 120.0

# A video is published some time in the last 90 days; reactions follow it, half of them within three and a half days.
_ACTIONS = SQL(
    "create temporary table action as"
    " select creator_id, video_id, 'u:' || number as viewer, case when random() < 0.8 then 'like' else 'dislike' end as reaction,"
    " now() - interval '1 day' * days * case when delay < 1 then 1 - delay else random() end as time, 'bench-' || number as id"
    " from ("
    "   select number, 'creator ' || creator as creator_id, creator || '/' || video as video_id, days,"
    "   -ln(1 - random()) * 5 / days as delay"
    "   from (select number, floor({creators} * power(random(), 2)) as creator, floor({videos} * random()) as video"
    "     from generate_series(1, {reactions}) as number) as chosen"
    "   cross join lateral (select 90.0 * (mod((creator * 31 + video * 17)::integer, 997) + 1) / 998 as days) as published"
    " ) as reacted"
)
_REACTIONS = SQL(
    "insert into store.video_reaction (organization, video_id, viewer, creator_id, reaction, time, id, source)"
    " select {organization}, video_id, viewer, creator_id, reaction, time, id, 'bench' from action"
)
_ROLLUP = SQL(
    "insert into {table} (organization, bucket, creator_id, video_id, events, views, likes, dislikes, last_active)"
    " select {organization}, date_bin({width}, time, '2000-01-01T00:00:00Z'), creator_id, video_id, 4 * count(*), 3 * count(*),"
    " count(*) filter (where reaction = 'like'), count(*) filter (where reaction = 'dislike'),"
    " max(extract(epoch from time) * 1000000)::bigint from action group by 2, 3, 4"
)


@dataclass(frozen=True)
class BoardCost:
    """Seconds that a refresh took at the median, and from a view's acceptance to its being on the boards, at the median and at most."""

    refresh_s: float
    median_s: float
    most_s: float
    rollup_rows: int


def board_cost(service: Service, *, creators: int, reactions: int, views: int) -> BoardCost:
    """Fills the tables, lets the service's own scheduler refresh the boards, and sends single views at random moments."""
    with psycopg.connect(service.database_url, autocommit=True, options="-c timezone=UTC") as connection:
        rows = fill_boards(connection, service, creators, reactions)
        seen_on_the_boards(service)  # gathers the history, in which all of this is new
        chance = random.Random(3)
        waits, refreshes = [], []
        for number in range(views):
            time.sleep(chance.uniform(0, 3))
            waits.append(_on_the_boards(service, _send(service, f"view-{number}")))
            row = connection.execute("select extract(epoch from took)::float8 from store.standing_refresh").fetchone()
            refreshes.append(row[0] if row is not None else 0.0)
    return BoardCost(median(refreshes), median(waits), max(waits), rows)


def fill_boards(
    connection: psycopg.Connection[tuple[object, ...]], service: Service, creators: int, reactions: int
) -> int:
    """Writes reactions and rollups as if views and reactions had come over 90 days; returns the rows of the daily rollup."""
    sizes = {"creators": Literal(creators), "reactions": Literal(reactions), "videos": Literal(_VIDEOS)}
    organization = Literal(service.organization)
    rows = 0
    connection.execute("select setseed(0.5)")
    connection.execute(_ACTIONS.format(**sizes))
    connection.execute(_REACTIONS.format(organization=organization))
    for grain, width in (("15m", dt.timedelta(minutes=15)), ("1d", dt.timedelta(days=1))):
        into = table(VIDEO_ENGAGEMENT, grain)
        statement = _ROLLUP.format(table=into, organization=organization, width=Literal(width))
        rows = connection.execute(statement).rowcount
        connection.execute(SQL("vacuum analyze {}").format(into))
    connection.execute("vacuum analyze store.video_reaction")
    return rows


def seen_on_the_boards(service: Service) -> None:
    """Sends a view and returns once the boards have it, and all that was filled in before."""
    _on_the_boards(service, _send(service, "first"))


def _send(service: Service, name: str) -> str:
    """Sends a view of a new creator's video; returns the creator once it is accepted."""
    now = dt.datetime.now(dt.UTC).isoformat()
    data = {"video_id": name, "creator_id": name, "user_id": "bench", "action": "view"}
    event = {"specversion": "1.0", "id": name, "source": "bench", "type": "view", "time": now, "data": data}
    _ask(service, "POST", "/api/v1/events", json.dumps(event), 202)
    return name


def _on_the_boards(service: Service, creator: str) -> float:
    """Seconds until a creator is on the board of 24 hours."""
    started = time.perf_counter()
    while time.perf_counter() - started < _PATIENCE_S:
        path = f"/api/v1/leaderboards/creators?window=24h&limit=1&around={creator}"
        if _ask(service, "GET", path, None, 200, 404) == 200:
            return time.perf_counter() - started
        time.sleep(0.05)
    raise RuntimeError(f"{creator} did not come onto the board in {_PATIENCE_S:.0f} s")


def _ask(service: Service, method: str, path: str, body: str | None, *expected: int) -> int:
    """The status of an answer; raises RuntimeError for any that is not expected."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
    connection.request(method, path, body, {"X-API-Key": service.key, "Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status not in expected:
        raise RuntimeError(f"{path}: {answer.status} {text[:300]!r}")
    return answer.status
