"""A server in a container, where a container engine runs."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence

from tests.servers.missing import ServerMissingError, run
from tests.servers.ports import LOOPBACK
from tests.servers.server import wait_for


@functools.cache
def engine() -> str | None:
    """The command of an engine that runs; None where there is none."""
    for name in ("docker", "podman"):
        if found := shutil.which(name):
            try:
                done = subprocess.run([found, "info"], capture_output=True, timeout=20)
            except (OSError, subprocess.TimeoutExpired):
                continue
            if done.returncode == 0:
                return found
    return None


class Container:
    """A server in a container whose ports are open to this machine only. See tests.servers.server.Server."""

    def __init__(
        self,
        docker: str,
        image: str,
        *,
        address: str,
        ports: Mapping[int, int],
        environment: Mapping[str, str],
        answers: Callable[[], bool],
        arguments: Sequence[str] = (),
        seconds: float,
    ) -> None:
        self.address = address
        self._docker = docker
        self._image = image
        self._answers = answers
        self._seconds = seconds
        self._id = ""
        self._create = [
            "create",
            *(part for here, there in ports.items() for part in ("--publish", f"{LOOPBACK}:{here}:{there}")),
            *(part for name, value in environment.items() for part in ("--env", f"{name}={value}")),
            image,
            *arguments,
        ]

    def start(self) -> None:
        """See Server. The first one on a machine fetches the image."""
        if not self._id:
            run([self._docker, "pull", self._image], seconds=900)
            self._id = self._run(*self._create).strip().splitlines()[-1]
        self._run("start", self._id)
        if not wait_for(self._answers, self._seconds, self._running):
            raise ServerMissingError(f"{self._image} did not start: {self._run('logs', '--tail', '20', self._id)}")

    def stop(self) -> None:
        """See Server."""
        self._run("stop", self._id)

    def kill(self) -> None:
        """See Server."""
        self._run("kill", self._id)

    def freeze(self) -> None:
        """See Server."""
        self._run("pause", self._id)

    def thaw(self) -> None:
        """See Server."""
        self._run("unpause", self._id)

    def close(self) -> None:
        """See Server."""
        if self._id:
            self._run("rm", "--force", "--volumes", self._id)

    def _running(self) -> bool:
        return self._run("inspect", "--format", "{{.State.Running}}", self._id).strip() == "true"

    def _run(self, *arguments: str) -> str:
        return run([self._docker, *arguments], seconds=120)
