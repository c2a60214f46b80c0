"""Auth0's and Supabase's access tokens: the good ones say who and until when, and every claim of them counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.auth.auth0 import AUTH0_ALGORITHMS, Auth0Tokens
from api.auth.jwks import KeySet, KeysUnavailable
from api.auth.supabase import SupabaseTokens
from api.auth.tokens import About, issuer_of
from tests.integration.foreign_issuers import AUDIENCE, AUTH0, KINDS, SUPABASE, World, believed, refused
from tests.integration.key_server import Issuer, published, rsa_key


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with believed() as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
async def test_a_good_token_says_who_and_until_when(world: World, kind: str) -> None:
    issuer, verifier = world.issuers[kind], world.verifiers[kind]
    now = datetime.now(UTC).replace(microsecond=0)
    token = issuer.token(sub="google-oauth2|42", iat=now, exp=now + timedelta(hours=1))
    assert issuer_of(token) == verifier.issuer
    verified = await verifier.verify(token)
    assert (verified.issuer, verified.subject) == (issuer.issuer, "google-oauth2|42")
    assert (verified.issued_at, verified.expires_at) == (now, now + timedelta(hours=1))
    just_now = issuer.token(iat=now - timedelta(hours=1), exp=now - timedelta(seconds=20))
    assert (await verifier.verify(just_now)).subject == "somebody"
    soon = issuer.token(iat=now + timedelta(seconds=20), nbf=now + timedelta(seconds=20))
    assert (await verifier.verify(soon)).subject == "somebody"


async def test_forms_that_the_issuers_use(world: World) -> None:
    auth0, verifier = world.issuers["auth0"], world.verifiers["auth0"]
    for typ in ("at+jwt", "AT+JWT", "application/at+jwt"):
        await verifier.verify(auth0.token(header={"typ": typ}))
    await verifier.verify(auth0.token(aud=[AUDIENCE, "https://acme.eu.auth0.com/userinfo"]))
    supabase = Issuer(SUPABASE, "authenticated", "rsa", rsa_key("supabase"))
    await world.verifiers["supabase by key set"].verify(supabase.token(role="authenticated", is_anonymous=False))
    await world.verifiers["supabase by secret"].verify(world.issuers["supabase by secret"].token(header={"kid": None}))


async def test_a_new_key_and_a_server_that_is_away(world: World) -> None:
    server, issuer = world.servers["auth0"], world.issuers["auth0"]
    seconds = 0.0
    verifier = Auth0Tokens(AUTH0, AUDIENCE, KeySet(server.url, AUTH0_ALGORITHMS, clock=lambda: seconds))
    await verifier.verify(issuer.token())
    rotated = Issuer(AUTH0, AUDIENCE, "two", rsa_key("auth0 two"))
    await refused(verifier, rotated.token())
    server.keys.append(published("two", rsa_key("auth0 two")))
    await refused(verifier, rotated.token())
    seconds += 30
    await verifier.verify(rotated.token())
    await server.stop()
    seconds += 3600
    await verifier.verify(rotated.token())
    await verifier.verify(issuer.token())
    with pytest.raises(KeysUnavailable):
        await verifier.verify(Issuer(AUTH0, AUDIENCE, "three", rsa_key("auth0")).token())


WRONG: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example.com/"},
    "nearly the issuer": {"iss": AUTH0.rstrip("/")},
    "another case": {"iss": SUPABASE.upper()},
    "a list of issuers": {"iss": [AUTH0, SUPABASE]},
    "another audience": {"aud": "https://other.example.com"},
    "no matching audience": {"aud": ["a", "b"]},
    "an audience that is a number": {"aud": 7},
    "expired": {"exp": datetime.now(UTC) - timedelta(seconds=40)},
    "expired with words": {"exp": "tomorrow"},
    "expired at infinity": {"exp": float("inf")},
    "no number": {"exp": float("nan")},
    "beyond the calendar": {"exp": 10**18},
    "issued in the future": {"iat": datetime.now(UTC) + timedelta(minutes=5)},
    "not yet": {"nbf": datetime.now(UTC) + timedelta(minutes=5)},
    "an empty subject": {"sub": ""},
    "a long subject": {"sub": "x" * 256},
    "a subject with a NUL": {"sub": "a\x00b"},
    "a subject with a line's end": {"sub": "a\nb"},
    "a subject with half a character": {"sub": "a\ud800"},
    "a subject with blanks around": {"sub": " a "},
    **{f"without {name}": {name: None} for name in ("iss", "aud", "sub", "exp", "iat")},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", WRONG)
async def test_claims_that_are_wrong_or_missing(world: World, kind: str, wrong: str) -> None:
    await refused(world.verifiers[kind], world.issuers[kind].exactly({"typ": "JWT", "kid": "one"}, **WRONG[wrong]))


async def test_a_subject_that_is_no_text(world: World) -> None:
    for kind in KINDS:
        issuer = world.issuers[kind]
        for subject in (7, True, ["a"], {"a": 1}):
            await refused(world.verifiers[kind], issuer.exactly({"typ": "JWT", "kid": "one"}, sub=subject))


async def test_supabases_own_keys_and_anonymous_visitors_are_nobody(world: World) -> None:
    for kind in KINDS[1:]:
        for said in (
            {"role": "anon"},
            {"role": "service_role"},
            {"role": ""},
            {"is_anonymous": True},
            {"is_anonymous": 1},
        ):
            await refused(world.verifiers[kind], world.issuers[kind].token(**said))


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (b"", "at least 32"),
        (b"x" * 31, "at least 32"),
        (b"-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----\n", "no secret"),
        (b"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ somebody@somewhere", "no secret"),
    ],
)
def test_a_secret_that_is_none_is_refused_at_the_start(secret: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        SupabaseTokens(SUPABASE, secret)


async def test_what_a_token_tells_of_somebody(world: World) -> None:
    async def about(kind: str, **said: Any) -> About:
        return (await world.verifiers[kind].verify(world.issuers[kind].token(**said))).about

    assert await about("auth0") == About()
    assert await about("auth0", email="a@example.com", name="Ann") == About("a@example.com", "Ann")
    spaced = {"https://gauge.example.com/email": "a@example.com", "https://gauge.example.com/name": "Ann"}
    assert await about("auth0", **spaced) == About("a@example.com", "Ann")
    metadata = {
        "username": "ann",
        "full_name": "Ann Example",
        "avatar_url": "https://example.com/ann.png",
        "role": "admin",
        "sub": "another",
    }
    assert await about("supabase by secret", email="a@example.com", user_metadata=metadata) == About(
        "a@example.com", "Ann Example", "ann", "https://example.com/ann.png"
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], About()),
        ("text", About()),
        ({"username": 7, "full_name": ["a"], "avatar_url": {"a": 1}}, About()),
        (
            {"username": "a\x00b", "full_name": "a\x00b\n\u202ec", "avatar_url": "javascript:alert(1)"},
            About(name="abc"),
        ),
        ({"username": "  ", "full_name": "\ud800", "avatar_url": "data:text/html,x"}, About()),
        (
            {"username": "x" * 65, "full_name": "x" * 1_000, "avatar_url": "https://e.com/" + "x" * 2_048},
            About(name="x" * 255),
        ),
        (
            {"username": "", "preferred_username": "\ufb01sh", "picture": "http://e.com/a"},
            About(None, None, "fish", "http://e.com/a"),
        ),
        ({"avatar_url": "https://", "picture": "https://e.com/a b"}, About()),
    ],
)
async def test_what_users_write_of_themselves_is_text_and_bounded(world: World, said: Any, expected: About) -> None:
    issuer: Callable[..., str] = world.issuers["supabase by secret"].token
    verified = await world.verifiers["supabase by secret"].verify(issuer(user_metadata=said))
    assert verified.about == expected
