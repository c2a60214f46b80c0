"""quixstreams doing a part of our work: the sum of the traded quantity by user and minute, nothing stored but its own state.

Run as `python quixstreams_sum.py BROKER TOPIC GROUP FOLDER`, once for each process of a group, each with a folder of its own. It reads
the topic, whose messages are keyed by user, to its end and prints in JSON when, in seconds, it had seen how many, at every 5,000.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from typing import Any

from quixstreams import Application


def main(broker: str, topic: str, group: str, folder: str) -> None:
    """Reads, sums and prints."""
    moments: list[tuple[float, int]] = []
    seen = [0]
    app = Application(
        broker_address=broker,
        consumer_group=group,
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
        if seen[0] % 5_000 == 0:
            moments.append((time.perf_counter(), seen[0]))
        return float(value["data"]["quantity"])

    trades = app.topic(topic, value_deserializer="json", timestamp_extractor=closed_at)
    app.dataframe(trades).apply(quantity).tumbling_window(60_000).sum().final()
    # It counts what comes out, which is less than what goes in: it ends when nothing has come for a while.
    app.run(timeout=5.0)
    print(json.dumps(moments))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4])
