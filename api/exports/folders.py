"""Folders of exports that are made before they are sent. A process that is killed leaves its own behind; the next one removes them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from api.errors import Problem

_PREFIX = "streamgauge-export-"


_LEAST = 1024**2


class NoRoom(Exception):
    """The disk of the temporary folder is full, or nearly so."""


class Folder:
    """A folder of one export in the temporary folder, held until it is removed. All of it blocks for the disk."""

    def __init__(self) -> None:
        made = Path(tempfile.mkdtemp(prefix=f"making-{_PREFIX}"))
        # It gets its name when it is held: until then nobody takes it for one that was left behind.
        self._held = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        self._removing = threading.Lock()
        self.place = made.rename(made.with_name(made.name.removeprefix("making-")))

    def remove(self) -> None:
        """Removes it with all that is in it; a second time does nothing."""
        with self._removing:
            shutil.rmtree(self.place, ignore_errors=True)
            if self._held >= 0:
                os.close(self._held)
                self._held = -1


@contextlib.contextmanager
def room_needed(place: Path) -> Iterator[None]:
    """Raises NoRoom in place of what went wrong because the disk of a folder is full, whoever wrote there and whatever they call it."""
    try:
        yield
    except (Problem, ConnectionError, TimeoutError):
        raise
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or shutil.disk_usage(place).free < _LEAST:
            raise NoRoom from error
        raise


def sweep() -> int:
    """Removes the folders that nobody holds any more, of this user. Returns how many they were."""
    swept = 0
    for place in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), _opened(place) as folder:
            if os.fstat(folder).st_uid == os.getuid():
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)
                swept += 1
    return swept


@contextlib.contextmanager
def _opened(place: Path) -> Iterator[int]:
    """The folder itself, never one that a link of that name leads to."""
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield folder
    finally:
        os.close(folder)
