"""Addresses of reports' files as the API gives them out, and as it checks them (storage/report_links.py signs them)."""

from __future__ import annotations

import datetime as dt
import hmac
from uuid import UUID

from api.errors import Problem
from storage.report_links import link_path, link_signature

LASTS = dt.timedelta(minutes=15)


def signed_path(key: bytes, organization: UUID, run: UUID, now: dt.datetime) -> str:
    """The path of a run's file, good for LASTS."""
    return link_path(key, organization, run, now + LASTS)


def check_signature(key: bytes, organization: UUID, run: UUID, expires: int, given: str, now: dt.datetime) -> None:
    """Raises Problem 403 for an address that is not ours, or is over."""
    if not hmac.compare_digest(link_signature(key, organization, run, expires).encode(), given.encode()):
        raise Problem(403, "signature: does not fit this address", parameter="signature")
    if now.timestamp() >= expires:
        raise Problem(
            403, "expires: this address is over; ask for the report's status for another", parameter="expires"
        )
