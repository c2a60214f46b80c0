"""What is fetched once a machine and kept between runs, in the user's cache; built by one process at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

_READY = ".ready"
PUBLIC = Path("/var/cache/streamgauge")


def cache_folder(*, public: bool = False) -> Path:
    """`streamgauge` in XDG_CACHE_HOME, or else in ~/.cache.

    What another user must be able to enter is `public`: for root, whose home nobody else enters, that is /var/cache/streamgauge.
    """
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "streamgauge"
    if public and os.geteuid() == 0:
        return PUBLIC
    return Path.home() / ".cache" / "streamgauge"


def kept(name: str, build: Callable[[Path], None], *, public: bool = False) -> Path:
    """The folder of this name in the cache, filled by `build` where it is not there yet.

    A folder of which the building was cut short is made anew. The name tells versions apart: what was built is not looked at again.
    """
    folder = cache_folder(public=public) / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _READY).exists():
            print(f"fetching {name}: once a machine, about a minute", file=sys.stderr, flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            (folder / _READY).touch()
    return folder
