"""What judges the faults' end states is itself judged: it finds an event that is missing, one too many, and a figure that is off."""

from __future__ import annotations

import pytest

from aggregators.definitions import ROLLUPS
from storage.sink import DatabaseSink
from tests.chaos.expected import wrong
from tests.chaos.workload import Workload
from tests.integration.stored import organizations, run
from tests.samples import batches


@pytest.mark.parametrize(
    "harm",
    [
        "delete from store.event_view where ctid = (select min(ctid) from store.event_view)",
        "insert into store.event_trade select * from store.event_trade limit 1",
        "update store.event_system set time = time + interval '1 microsecond'",
        "update store.rollup_trade_pnl_1d set net = net + 1e-18",
        "delete from store.rollup_system_metrics_1h",
        "delete from store.video_reaction",
    ],
)
def test_harm_is_found(database_url: str, harm: str) -> None:
    owners = organizations(database_url)
    flow = Workload(0, 1)
    first = flow.new(60)
    accepted = [*first, *flow.late(6), *flow.repeated(first, 10)]
    sink = DatabaseSink(database_url, ROLLUPS)
    try:
        sink.write(batches(accepted, owners))
    finally:
        sink.close()
    assert wrong(database_url, accepted, owners) == []
    run(database_url, harm)
    assert wrong(database_url, accepted, owners) != []
