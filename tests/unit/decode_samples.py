"""Events as JSON for the tests of the decoder, and how they are read."""

from __future__ import annotations

import json
from typing import Any

from ingest.events.decode import NDJSON, Decoded, Limits, decode
from tests.samples import NOW

TIME = "2026-03-31T10:00:00Z"

DATA: dict[str, dict[str, Any]] = {
    "system": {"host": "web-1", "metrics": {"cpu_usage": 74.79}},
    "enterprise": {"metrics": {"revenue_generated": 12.5}, "team_type": "ml"},
    "trade": {
        "trade_id": "t",
        "user_id": "u",
        "broker": "b",
        "symbol": "s",
        "side": "buy",
        "quantity": "2",
        "entry_price": "1",
        "exit_price": "3",
        "currency": "USD",
        "opened_at": TIME,
        "closed_at": TIME,
    },
    "view": {"video_id": "v", "creator_id": "c", "action": "like", "user_id": "u"},
}


def event(kind: str = "system", **changes: Any) -> dict[str, Any]:
    """A good event, with changes; a change to ... leaves the attribute out."""
    made = {"specversion": "1.0", "id": f"{kind}-1", "source": "s", "type": kind, "time": TIME, "data": DATA[kind]}
    return {name: value for name, value in (made | changes).items() if value is not ...}


def with_data(kind: str, **changes: Any) -> dict[str, Any]:
    """A good event with changes to its data."""
    return event(kind, data={name: value for name, value in (DATA[kind] | changes).items() if value is not ...})


def read(content: bytes | list[Any] | dict[str, Any], content_type: str = "application/json") -> Decoded:
    """Decodes a body as the API would at `NOW`."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return decode(raw, content_type, now=NOW, limits=Limits())


def error_of(bad: Any) -> str:
    """The refusal of an event between two good ones, which must not be touched."""
    decoded = read([event("view"), bad, event("trade")])
    assert decoded.indexes == [0, 2]
    assert [one.kind for one in decoded.events] == ["view", "trade"]
    (rejection,) = decoded.rejected
    assert rejection.index == 1
    alone = read(bad)
    assert [one.error for one in alone.rejected] == [rejection.error]
    (line,) = read(json.dumps(bad).encode(), NDJSON).rejected
    assert line.error == rejection.error
    return rejection.error
