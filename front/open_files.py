"""How many connections a process may hold: the system's soft limit of open files is raised to the hard one."""

from __future__ import annotations

import structlog

log = structlog.get_logger(__name__)

MOST_FILES = 1_048_576
"""More is of no use, and tables of open files are sized by it."""


def allow_open_files() -> int | None:
    """Raises the limit as far as the system lets it and returns it; None where there is none to raise (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            log.warning("open_files_not_raised", limit=soft, reason=str(error))
            return soft
        soft = wanted
    log.info("open_files", limit=soft)
    return soft
