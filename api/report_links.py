"""Addresses of files: signed, so that whoever has one may fetch the file without signing in, for a while."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from uuid import UUID

from api.errors import Problem

LASTS = dt.timedelta(minutes=15)


def download_key(secret: bytes) -> bytes:
    """The key that signs them, derived from the service's secret: what signs addresses signs no access tokens."""
    return hmac.digest(secret, b"streamgauge report downloads", "sha256")


def signature(key: bytes, organization: UUID, run: UUID, expires: int) -> str:
    """What stands behind an address; `expires` in seconds since 1970."""
    return hmac.new(key, f"{organization}/{run}/{expires}".encode(), hashlib.sha256).hexdigest()


def signed_path(key: bytes, organization: UUID, run: UUID, now: dt.datetime) -> str:
    """The path of a run's file, good for LASTS."""
    expires = int((now + LASTS).timestamp())
    signed = signature(key, organization, run, expires)
    return f"/api/v1/reports/{run}/download?organization={organization}&expires={expires}&signature={signed}"


def check_signature(key: bytes, organization: UUID, run: UUID, expires: int, given: str, now: dt.datetime) -> None:
    """Raises Problem 403 for an address that is not ours, or is over."""
    if not hmac.compare_digest(signature(key, organization, run, expires).encode(), given.encode()):
        raise Problem(403, "signature: does not fit this address", parameter="signature")
    if now.timestamp() >= expires:
        raise Problem(
            403, "expires: this address is over; ask for the report's status for another", parameter="expires"
        )
