"""Under which name a report's file is stored: the same for the same run, so that storing it twice leaves one."""

from __future__ import annotations

import re

from jobs.delivery.handover import Handover

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def object_name(handover: Handover) -> str:
    """`<organization>/<schedule or type>/<period or day of its making>/<run>-<file name>`, of letters, digits, `.`, `_`, `-` and `/`."""
    run = handover.run
    assert run.file_name is not None
    when = run.created_at.strftime("%Y-%m-%d") if run.period is None else run.period.strftime("%Y-%m-%dT%H-%M")
    parts = (str(handover.organization), str(run.schedule or run.type), when, f"{handover.id}-{run.file_name}")
    return "/".join(_UNSAFE.sub("_", part).lstrip(".") for part in parts)
