"""bytewax doing a part of our work: the sum of the traded quantity by user and minute, nothing stored.

Run as `python bytewax_sum.py BROKER TOPIC`; it reads the topic to its end and prints the seconds from the first message to the end.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import windowing as win
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

ALIGNED = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class _Nowhere(StatelessSinkPartition[Any]):
    def write_batch(self, items: list[Any]) -> None:
        """Drops the sums."""


class _Drop(DynamicSink[Any]):
    def build(self, *_: Any) -> _Nowhere:
        """A sink that keeps nothing."""
        return _Nowhere()


def main(broker: str, topic: str) -> None:
    """Reads, sums and prints."""
    moments: list[float] = []

    def decode(message: Any) -> tuple[str, dict[str, Any]]:
        if not moments:
            moments.append(time.perf_counter())
        value = orjson.loads(message.value)
        return value["data"]["user_id"], value

    flow = Dataflow("one_minute_sum")
    messages = op.input("messages", flow, KafkaSource([broker], [topic], tail=False, batch_size=5_000))
    keyed = op.map("decode", messages, decode)
    clock = win.EventClock(
        ts_getter=lambda value: dt.datetime.fromisoformat(value["time"]),
        wait_for_system_duration=dt.timedelta(seconds=10),
    )
    windows = win.fold_window(
        "sum",
        keyed,
        clock,
        win.TumblingWindower(length=dt.timedelta(minutes=1), align_to=ALIGNED),
        builder=lambda: 0.0,
        folder=lambda total, value: total + value["data"]["quantity"],
        merger=lambda one, other: one + other,
    )
    op.output("drop", windows.down, _Drop())
    run_main(flow)
    print(time.perf_counter() - moments[0])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
