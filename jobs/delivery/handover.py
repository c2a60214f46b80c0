"""What is handed over to a recipient, and how that may end: it returns, or says whether it is worth trying again."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import msgspec

from jobs.reports.parameters import ReportParameters
from storage.report_deliveries import FinishedRun
from storage.report_recipients import Recipient

LINK_LASTS = dt.timedelta(days=7)
"""How long the address of a file in a mail or a webhook is good."""

_TITLES = {"pnl": "P&L statement", "leaderboard": "Creator leaderboard"}


class NotDelivered(Exception):
    """The receiver did not say yes; it may when asked again, after `retry_after` seconds at the earliest."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class DeliveryRefused(Exception):
    """The receiver will never take it, or there is none: trying again gives the same answer."""


@dataclass(frozen=True)
class Handover:
    """A finished run on its way to one recipient. `key` is the same at every attempt; `artefact` reads the file of one that succeeded.

    `download_url` is None where there is no file, or no address under which people reach the service.
    """

    key: str
    id: UUID
    organization: UUID
    organization_name: str
    recipient: Recipient
    run: FinishedRun
    artefact: Callable[[], Awaitable[bytes]]
    download_url: str | None
    now: dt.datetime

    @property
    def succeeded(self) -> bool:
        """Whether there is a file."""
        return self.run.status == "succeeded"

    @property
    def parameters(self) -> ReportParameters:
        """Which days it is of."""
        return msgspec.json.decode(self.run.parameters, type=ReportParameters)

    @property
    def title(self) -> str:
        """What it is called: as its schedule, else as its type."""
        kind = self.run.type
        return self.run.schedule_name or _TITLES.get(kind, f"{kind.capitalize()} report")

    @property
    def summary(self) -> dict[str, Any]:
        """The summary of one that succeeded; its numbers are text, digit by digit as they stand in the JSON."""
        found: dict[str, Any] = json.loads(self.run.summary or "{}", parse_float=str, parse_int=str)
        return found


class Channel(Protocol):
    """One way to hand a report over."""

    async def hand_over(self, handover: Handover) -> None:
        """Returns once the receiver has said yes. Raises NotDelivered or DeliveryRefused."""
