"""Reports in a folder: each file whole or not there, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from uuid import uuid4

from jobs.delivery.handover import Handover, NotDelivered
from jobs.delivery.object_name import object_name


class ReportFolder:
    """A folder that reports are stored in; it is made where it is not there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def hand_over(self, handover: Handover) -> None:
        """Returns once the file is on the disk. Raises NotDelivered: a full disk is emptied, a wrong right is put right."""
        data = await handover.artefact()
        try:
            await asyncio.to_thread(_write, self._path / object_name(handover), data)
        except OSError as error:
            raise NotDelivered(f"the folder cannot be written: {error.strerror or type(error).__name__}") from error


def _write(path: Path, data: bytes) -> None:
    """Writes under another name, and names it so once it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}."
    temporary = path.with_name(f"{prefix}{uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    # What a process left that died while it wrote the same file. That there is more than wanted is no reason to write it again.
    for left in path.parent.iterdir():
        if left.name.startswith(prefix):
            with contextlib.suppress(OSError):
                left.unlink()
