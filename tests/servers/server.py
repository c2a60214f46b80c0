"""What a test can do with a server of its own, whether it is a process or a container."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


class Server(Protocol):
    """A server that was started for tests; its address stays the same when it is started again."""

    @property
    def address(self) -> str:
        """Kafka: HOST:PORT. A database: the URL of its superuser."""

    def start(self) -> None:
        """Starts it and waits until it answers; with the data that it had, where it ran before. Raises ServerMissingError."""

    def stop(self) -> None:
        """Ends it in its own way, and waits for its end."""

    def kill(self) -> None:
        """Ends it as a crash would: SIGKILL."""

    def freeze(self) -> None:
        """Lets it do nothing, with its connections open: SIGSTOP."""

    def thaw(self) -> None:
        """Lets it go on."""

    def close(self) -> None:
        """Ends it and throws its data away."""


def wait_for(answers: Callable[[], bool], seconds: float, running: Callable[[], bool] = lambda: True) -> bool:
    """Waits until it answers; False where it ended first, or took longer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and running():
        if answers():
            return True
        time.sleep(0.05)
    return False
