"""What somebody signs in with: the OAuth2 password form, or the same as JSON."""

from __future__ import annotations

import unicodedata
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from api.auth.passwords import MOST_CHARACTERS
from api.entered import read_body
from api.errors import Problem
from ingest.events.decode import explain

LONGEST_EMAIL = 320
_FIELDS = frozenset({"username", "email", "password", "session"})


class Login(msgspec.Struct, kw_only=True):
    """An e-mail address, as `username` (OAuth2's word for it) or `email`, and a password.

    With `session` the browser gets the page's session cookie too.
    """

    username: str | None = None
    email: str | None = None
    password: str = msgspec.field()
    session: bool = False

    @property
    def who(self) -> str:
        """The e-mail address."""
        return unicodedata.normalize("NFC", (self.username if self.username is not None else self.email or "").strip())


async def read_login(request: web.Request) -> Login:
    """The login in the request's body; raises Problem 400, 413, 415 or 422, which names a field but shows no value."""
    if request.content_type not in ("application/x-www-form-urlencoded", "application/json"):
        raise Problem(415, "expected application/x-www-form-urlencoded or application/json")
    body = await read_body(request)
    try:
        if request.content_type == "application/json":
            login = msgspec.json.decode(body, type=Login)
        else:
            login = msgspec.convert(_form(body), Login, strict=False)
    except msgspec.ValidationError as error:
        text = explain(str(error))
        raise Problem(422, text, parameter=text.partition(":")[0]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        raise Problem(400, "the body cannot be read as its content type says") from None
    if (login.username is None) == (login.email is None):
        raise Problem(422, "username: expected either username or email", parameter="username")
    if not 0 < len(login.who) <= LONGEST_EMAIL:
        raise Problem(422, f"username: expected 1 to {LONGEST_EMAIL} characters", parameter="username")
    if len(login.password) > MOST_CHARACTERS:
        raise Problem(422, f"password: expected at most {MOST_CHARACTERS} characters", parameter="password")
    return login


def _form(body: bytes) -> dict[str, str]:
    """The fields that we know. OAuth2 clients send others (grant_type, scope, client_id), which mean nothing here."""
    pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=100)
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field stands more than once")
    return {name: value for name, value in fields.items() if name in _FIELDS}
