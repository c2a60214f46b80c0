"""The event contracts, one file a kind, and the list of the kinds."""

from ingest.events.enterprise import Enterprise, EnterpriseEvent
from ingest.events.envelope import Event, InvalidEvent
from ingest.events.system import System, SystemEvent
from ingest.events.trade import Trade, TradeEvent
from ingest.events.view import View, ViewEvent

AnyEvent = SystemEvent | EnterpriseEvent | TradeEvent | ViewEvent

KINDS: dict[str, type[Event]] = {event.kind: event for event in (SystemEvent, EnterpriseEvent, TradeEvent, ViewEvent)}
"""Every kind of event by its CloudEvents `type`."""

__all__ = [
    "KINDS",
    "AnyEvent",
    "Enterprise",
    "EnterpriseEvent",
    "Event",
    "InvalidEvent",
    "System",
    "SystemEvent",
    "Trade",
    "TradeEvent",
    "View",
    "ViewEvent",
]
