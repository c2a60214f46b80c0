"""The demo as a collector: a past of some days in batches, then the events of each second."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from random import Random
from typing import Any

from ingest.collectors.demo import hosts, trades, views
from ingest.collectors.demo.enterprise import reports
from ingest.collectors.demo.wave import DAY, Waves, activity
from ingest.events import EnterpriseEvent, Event, System, SystemEvent, TradeEvent, ViewEvent

BATCH_EVENTS = 1_000
"""Events in one batch of the past."""

_HOST_EVERY = 1_800
_REPORT_EVERY = 7_200
_TRADES_A_DAY = 150
_VISITS_A_DAY = 100

_LIVE_REPORT_EVERY = 10
_LIVE_TRADES = 0.06
_LIVE_VISITS = 0.7


class Demo:
    """Simulated events of the sources `demo/…`, complete as they would be after acceptance.

    What happens at a time depends on the seed drawn from `random` and on that time alone, and an event's sequence is made of its
    time (seconds since 1970 × 1000, and its number within the second). So a demo that starts again with the same seed repeats
    itself under the same identities: what was counted is known, and the days on which it did not run are filled in.
    The past must be published before the first tick, and both in order.
    """

    def __init__(self, random: Random) -> None:
        self._seed = random.getrandbits(64)
        self._waves = Waves(self._seed)
        self._videos = views.simulated_videos(self._random("videos"))

    def history(self, now: dt.datetime, days: int) -> Iterator[list[Event]]:
        """Yields what happened in the `days` × 24 hours before the second of `now`, in order, in batches of at most 1,000 events.

        Thirty days are about 15,000 events.
        """
        end = int(now.timestamp())
        start = end - round(days * DAY)
        batch: list[Event] = []
        for day in range(int(start // DAY), int(end // DAY) + 1):
            for event in self._day(int(day * DAY)):
                if start <= event.time.timestamp() < end:
                    batch.append(event)
                    if len(batch) == BATCH_EVENTS:
                        yield batch
                        batch = []
        if batch:
            yield batch

    def tick(self, now: dt.datetime) -> list[Event]:
        """Returns what happened in the whole second before that of `now`. To be called about once a second."""
        second = int(now.timestamp()) - 1
        random = self._random(f"second/{second}")
        events = self._measurements(second)
        if second % _LIVE_REPORT_EVERY == 0:
            events += self._reports(second, _LIVE_REPORT_EVERY)
        demand = activity(second)
        if random.random() < _LIVE_TRADES * demand:
            events.append(self._trade(second, random))
        if random.random() < _LIVE_VISITS * demand:
            events += self._visit(second, random)
        return events

    def _day(self, midnight: int) -> list[Event]:
        """Returns the events of a past day, thinner than they are live, in the order of their times."""
        random = self._random(f"day/{midnight}")
        events: list[Event] = []
        for second in range(midnight, midnight + int(DAY), _HOST_EVERY):
            events += self._measurements(second)
        for second in range(midnight, midnight + int(DAY), _REPORT_EVERY):
            events += self._reports(second, _REPORT_EVERY)
        for second in _moments(midnight, _TRADES_A_DAY, random):
            events.append(self._trade(second, random))
        for second in _moments(midnight, _VISITS_A_DAY, random):
            events += self._visit(second, random)
        return sorted(events, key=lambda event: event.time)

    def _measurements(self, second: int) -> list[Event]:
        return [
            SystemEvent(
                data=System(host=host.name, metrics=hosts.measure(host, second, self._waves)),
                **_envelope(f"demo/host/{host.name}", second, 0),
            )
            for host in hosts.HOSTS
        ]

    def _reports(self, second: int, seconds: int) -> list[Event]:
        found = reports(second, seconds, self._waves)
        return [EnterpriseEvent(data=data, **_envelope("demo/enterprise", second, at)) for at, data in enumerate(found)]

    def _trade(self, second: int, random: Random) -> TradeEvent:
        envelope = _envelope("demo/trades", second, 0)
        data = trades.trade(envelope["sequence"], envelope["time"], random, self._waves)
        return TradeEvent(data=data, **envelope)

    def _visit(self, second: int, random: Random) -> list[Event]:
        acts = views.visit(self._videos, random)
        return [
            ViewEvent(data=act, **_envelope("demo/views", second, number, after))
            for number, (after, act) in enumerate(acts)
        ]

    def _random(self, name: str) -> Random:
        """Returns the randomness of one part of the simulation, the same whenever it is asked for."""
        return Random(f"{self._seed}/{name}")  # noqa: S311  (a simulation, nothing secret)


def _moments(midnight: int, count: int, random: Random) -> list[int]:
    """Returns `count` different seconds of a day in order, more of them when people are busy."""
    quarters = [midnight + at for at in range(0, int(DAY), 900)]
    weights = [activity(quarter) for quarter in quarters]
    found: set[int] = set()
    while len(found) < count:
        found.add(random.choices(quarters, weights)[0] + random.randrange(900))
    return sorted(found)


def _envelope(source: str, second: int, number: int, after: float = 0.0) -> dict[str, Any]:
    """Returns the attributes of an event of a second, the `number`-th of its source in it, `after` seconds behind its beginning."""
    sequence = second * 1_000 + number
    time = dt.datetime.fromtimestamp(second, dt.UTC) + dt.timedelta(seconds=after)
    return {"specversion": "1.0", "id": str(sequence), "source": source, "time": time, "sequence": sequence}
