"""The routes of identity, of which each subject has its own file."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from api.auth.authenticate import Authenticator
from api.auth.passwords import Passwords
from api.auth.registration import Registering
from api.auth.sign_in import SignIn
from api.auth.whoami import WhoAmI
from api.limits.sign_ins import SignIns
from api.routing import Route
from storage.database import Database


def new_token() -> str:
    """256 random bits, for sessions, links and tickets."""
    return secrets.token_urlsafe(32)


def routes(
    database: Database,
    authenticator: Authenticator,
    *,
    passwords: Passwords | None = None,
    token: Callable[[], str] = new_token,
    clock: Callable[[], float] = time.monotonic,
    open_registration: bool = True,
    sign_ins: SignIns | None = None,
) -> list[Route]:
    """Registering, signing in and out, and who one is. One `Passwords` for all: it bounds what hashing may take."""
    passwords = passwords or Passwords()
    return [
        *Registering(database, authenticator, passwords, clock, is_open=open_registration).routes(),
        *SignIn(database, authenticator, passwords, sign_ins or SignIns(clock=clock), token).routes(),
        *WhoAmI(database, authenticator, token).routes(),
    ]
