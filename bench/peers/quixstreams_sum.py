"""quixstreams doing a part of our work: the sum of the traded quantity by user and minute, nothing stored but its own state.

Run as `python quixstreams_sum.py BROKER TOPIC COUNT FOLDER`; it reads COUNT messages, keyed by user, and prints the seconds from
the first to the last of them.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from typing import Any

from quixstreams import Application


def main(broker: str, topic: str, count: int, folder: str) -> None:
    """Reads, sums and prints."""
    moments: list[float] = []
    seen = [0]
    app = Application(
        broker_address=broker,
        consumer_group="quixstreams",
        auto_offset_reset="earliest",
        auto_create_topics=True,
        state_dir=folder,
        loglevel="WARNING",
        consumer_extra_config={"fetch.wait.max.ms": 50},
    )

    def closed_at(value: dict[str, Any], *_: Any) -> int:
        return int(dt.datetime.fromisoformat(value["time"]).timestamp() * 1000)

    def quantity(value: dict[str, Any]) -> float:
        seen[0] += 1
        if seen[0] in (1, count):
            moments.append(time.perf_counter())
        return float(value["data"]["quantity"])

    trades = app.topic(topic, value_deserializer="json", timestamp_extractor=closed_at)
    app.dataframe(trades).apply(quantity).tumbling_window(60_000).sum().final()
    # It counts what comes out, which is less than what goes in: it ends when nothing has come for a while.
    app.run(timeout=5.0)
    first, last = moments
    print(last - first)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
