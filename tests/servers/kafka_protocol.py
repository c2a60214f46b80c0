"""Kafka's protocol as far as it takes to see that a broker is up."""

from __future__ import annotations

import socket
import struct
from urllib.parse import urlsplit

_METADATA = 3
_VERSION = 1


def knows_a_broker(address: str) -> bool:
    """Whether the broker at HOST:PORT answers a Metadata request and is itself, or knows, a broker that takes requests."""
    place = urlsplit(f"//{address.split(',')[0]}")
    # Header: API, version, correlation, no client's name. Body: an empty list of topics.
    request = struct.pack(">hhihi", _METADATA, _VERSION, 1, -1, 0)
    try:
        with socket.create_connection((place.hostname or "", place.port or 9092), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answer:
                head = answer.read(12)
    except OSError:
        return False
    # Length, correlation, number of brokers.
    return len(head) == 12 and int(struct.unpack(">iii", head)[2]) > 0
