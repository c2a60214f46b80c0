"""CloudEvents of every kind, each with an id of its own, at the time that a test's clock shows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.integration.api_service import Clock


class EventMaker:
    """Makes events for who has a clock, and a list that holds the number of the last one: who shares it makes no id twice."""

    clock: Clock
    numbers: list[int]

    def event(self, kind: str, data: dict[str, Any], time: datetime | str | None = None, **more: Any) -> dict[str, Any]:
        """A CloudEvent with an id of its own; without a `time` it is of now."""
        self.numbers[0] += 1
        moment = self.clock.now if time is None else time
        return {
            "specversion": "1.0",
            "id": f"event-{self.numbers[0]}",
            "source": "test",
            "type": kind,
            "time": moment if isinstance(moment, str) else moment.isoformat(),
            "data": data,
            **more,
        }

    def system(self, host: str, time: datetime | None = None, **metrics: float) -> dict[str, Any]:
        """A host's measurement."""
        return self.event("system", {"host": host, "metrics": metrics}, time)

    def enterprise(self, time: datetime | None = None, team: str | None = None, **metrics: Any) -> dict[str, Any]:
        """An organization's report."""
        return self.event("enterprise", {"metrics": metrics, **({"team_type": team} if team else {})}, time)

    def trade(self, closed: datetime, pnl: str, **more: Any) -> dict[str, Any]:
        """A trade that closed with this result before fees."""
        data = {
            "trade_id": f"trade-{self.numbers[0]}",
            "user_id": "ann",
            "broker": "broker",
            "symbol": "EURUSD",
            "side": "buy",
            "quantity": 1,
            "entry_price": 1,
            "exit_price": 1,
            "currency": "USD",
            "pnl": pnl,
            "opened_at": (closed - timedelta(hours=1)).isoformat(),
            "closed_at": closed.isoformat(),
            **more,
        }
        return self.event("trade", data, closed)

    def view(self, action: str, time: datetime | None = None, id_: str | None = None, **more: Any) -> dict[str, Any]:
        """One person's action on one video."""
        data = {"video_id": "video", "creator_id": "creator", "user_id": "ann", "action": action, **more}
        return self.event("view", data, time, **({"id": id_} if id_ else {}))
