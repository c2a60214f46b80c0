"""Ports for servers that tests start: free ones, below those that the system gives to outgoing connections."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """So many different ports that nobody listens on. Raises OSError where there are none.

    Another process may take one before it is used: whoever starts a server tries again with others.
    """
    found = []
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError("no port is free")
