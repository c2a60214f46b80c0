"""A server that cannot be had here: why, in a sentence that names what is missing."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class ServerMissingError(Exception):
    """The server cannot be had on this machine; the message says why and what would help."""


def run(
    command: Sequence[str], *, seconds: float, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """What a command prints that must succeed. Raises ServerMissingError with the end of what it said."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerMissingError(f"{command[0]}: {error}") from error
    if done.returncode:
        lines = done.stdout.strip().splitlines()
        said = " | ".join(lines if len(lines) < 6 else [*lines[:3], *lines[-2:]])
        raise ServerMissingError(f"{command[0]} failed with {done.returncode}: {said}")
    return done.stdout
