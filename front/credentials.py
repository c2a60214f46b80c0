"""What a service keeps for itself in its data folder: credentials.json, and the secret of its access tokens."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path

from front.settings import InvalidSetting, Settings
from storage.bootstrap import ADMIN_EMAIL, Bootstrap

CREDENTIALS = "credentials.json"


def jwt_secret(settings: Settings) -> bytes:
    """The secret that signs access tokens: the one that is set, or one that is made once and kept in the data folder."""
    if settings.jwt_secret is not None:
        if len(settings.jwt_secret.encode()) < 32:
            raise InvalidSetting("JWT_SECRET: must have at least 32 bytes")
        return settings.jwt_secret.encode()
    path = settings.data / "jwt_secret"
    if not path.exists():
        _write_private(path, secrets.token_hex(32))
    return path.read_text("utf-8").strip().encode()


def known_jwt_secret(settings: Settings) -> bytes | None:
    """The same where there is one. A process beside the API's makes none: it would be another than theirs."""
    if settings.jwt_secret is None and not (settings.data / "jwt_secret").exists():
        return None
    return jwt_secret(settings)


def _write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def keep_credentials(settings: Settings, made: Bootstrap) -> None:
    """Writes credentials.json before the account that it opens is there."""
    assert made.secrets is not None
    values = {
        "url": settings.public_url or f"http://127.0.0.1:{settings.port}",
        "organization_id": str(made.organization),
        "admin_email": ADMIN_EMAIL,
        "admin_password": made.secrets.password,
        "api_key": made.secrets.api_key,
    }
    _write_private(settings.data / CREDENTIALS, json.dumps(values, indent=2) + "\n")


def refresh_url(path: Path, url: str) -> None:
    """Keeps the address in credentials.json that of this start; whoever reads it finds the service."""
    if not path.exists():
        return
    values = json.loads(path.read_text("utf-8"))
    if values.get("url") != url:
        _write_private(path, json.dumps({**values, "url": url}, indent=2) + "\n")
