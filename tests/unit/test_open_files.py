"""The limit of open files is raised as far as the system lets it."""

from __future__ import annotations

import resource

from front.open_files import MOST_FILES, allow_open_files


def test_the_soft_limit_becomes_the_hard_one() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        limit = allow_open_files()
        wanted = MOST_FILES if before[1] == resource.RLIM_INFINITY else min(before[1], MOST_FILES)
        assert limit == wanted == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert allow_open_files() == wanted
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
