"""Addresses of reports' files: signed, so that whoever has one may fetch the file without signing in, for a while.

The API gives them out and checks them, the jobs put them into mails and webhooks: both have the key from the front door.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from dataclasses import dataclass, field
from uuid import UUID


def download_key(secret: bytes) -> bytes:
    """The key that signs them, derived from the service's secret: what signs addresses signs no access tokens."""
    return hmac.digest(secret, b"streamgauge report downloads", "sha256")


def link_signature(key: bytes, organization: UUID, run: UUID, expires: int) -> str:
    """What stands behind an address; `expires` in seconds since 1970."""
    return hmac.new(key, f"{organization}/{run}/{expires}".encode(), hashlib.sha256).hexdigest()


def link_path(key: bytes, organization: UUID, run: UUID, until: dt.datetime) -> str:
    """The path of a run's file, good until then."""
    expires = int(until.timestamp())
    signed = link_signature(key, organization, run, expires)
    return f"/api/v1/reports/{run}/download?organization={organization}&expires={expires}&signature={signed}"


@dataclass(frozen=True)
class DownloadLinks:
    """Makes the addresses under which people reach the service at `public_url`."""

    public_url: str
    key: bytes = field(repr=False)

    def address(self, organization: UUID, run: UUID, until: dt.datetime) -> str:
        """Where a run's file is, good until then."""
        return self.public_url.rstrip("/") + link_path(self.key, organization, run, until)
