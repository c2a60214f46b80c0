"""Our access tokens: the valid ones say who, and nothing else is let in."""

from __future__ import annotations

import base64
import json
import string
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from api.auth.tokens import ACCESS_TOKEN_LIFETIME, OwnTokens, TokenRefused, issuer_of

SECRET = b"0123456789abcdef0123456789abcdef"
ACCOUNT = UUID("6f1c1c1e-6f0e-4a52-9f53-0f1d8c7a1b11")


def claims(**changed: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    whole = {
        "iss": "streamgauge",
        "aud": "streamgauge",
        "sub": str(ACCOUNT),
        "iat": now,
        "exp": now + timedelta(minutes=5),
    } | changed
    return {name: value for name, value in whole.items() if value is not None}


def signed(payload: dict[str, Any], *, secret: bytes = SECRET, algorithm: str = "HS256", **header: Any) -> str:
    return jwt.encode(payload, secret, algorithm=algorithm, headers=header or None)


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


async def refused(token: str) -> str:
    with pytest.raises(TokenRefused) as caught:
        await OwnTokens(SECRET).verify(token)
    return str(caught.value)


async def test_a_token_says_whose_it_is_and_until_when() -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    tokens = OwnTokens(SECRET)
    token = tokens.issue(ACCOUNT, now=now)
    assert issuer_of(token) == tokens.issuer
    verified = await tokens.verify(token)
    assert (verified.subject, verified.expires_at) == (str(ACCOUNT), now + ACCESS_TOKEN_LIFETIME)


async def test_a_token_that_expired_less_than_the_leeway_ago_still_holds() -> None:
    token = OwnTokens(SECRET).issue(ACCOUNT, now=datetime.now(UTC) - ACCESS_TOKEN_LIFETIME - timedelta(seconds=10))
    assert (await OwnTokens(SECRET).verify(token)).subject == str(ACCOUNT)


async def test_an_expired_token_is_told_so() -> None:
    token = OwnTokens(SECRET).issue(ACCOUNT, now=datetime.now(UTC) - ACCESS_TOKEN_LIFETIME - timedelta(seconds=40))
    assert "expired" in await refused(token)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
async def test_a_token_without_a_signature_is_refused(algorithm: str) -> None:
    now = int(datetime.now(UTC).timestamp())
    body = f"{segment({'alg': algorithm, 'typ': 'JWT'})}.{segment(claims(iat=now, exp=now + 300))}"
    signature = signed(claims()).rpartition(".")[2]
    for token in (f"{body}.", body, f"{body}.{signature}"):
        await refused(token)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_other_algorithms_with_the_same_secret_are_refused(algorithm: str) -> None:
    await refused(signed(claims(), algorithm=algorithm))


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "somebody"},
        {"aud": "somebody"},
        {"aud": ["streamgauge"]},
        {"iat": timedelta(hours=1)},
        {"nbf": timedelta(hours=1)},
        {"exp": timedelta(minutes=-1)},
        {"exp": "soon"},
        *({name: None} for name in ("exp", "iat", "sub", "iss", "aud")),
    ],
    ids=str,
)
async def test_a_claim_that_is_wrong_or_missing_is_refused(changed: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    await refused(signed(claims(**{k: now + v if isinstance(v, timedelta) else v for k, v in changed.items()})))


async def test_another_secret_is_refused() -> None:
    await refused(signed(claims(), secret=SECRET[::-1]))


@pytest.mark.parametrize(
    "header",
    [{"kid": "../../etc/passwd"}, {"jku": "https://x"}, {"jwk": {}}, {"crit": ["x"]}, {"typ": "other"}],
    ids=str,
)
async def test_a_header_that_asks_for_more_is_refused(header: dict[str, Any]) -> None:
    # PyJWT itself refuses to write some of these, so the header is put together and signed by hand.
    body = f"{segment({'alg': 'HS256', 'typ': 'JWT'} | header)}.{signed(claims()).split('.')[1]}"
    signature = jwt.get_algorithm_by_name("HS256").sign(body.encode(), SECRET)
    await refused(f"{body}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}")


async def test_every_changed_bit_of_a_token_is_noticed() -> None:
    token = OwnTokens(SECRET).issue(ACCOUNT, now=datetime.now(UTC)).encode()
    for place in range(len(token)):
        for bit in range(8):
            changed = token[:place] + bytes([token[place] ^ 1 << bit]) + token[place + 1 :]
            await refused(changed.decode("latin-1"))


async def test_characters_that_decode_to_the_same_signature_are_not_the_same_token() -> None:
    token = OwnTokens(SECRET).issue(ACCOUNT, now=datetime.now(UTC))
    for last in set(string.ascii_letters + string.digits + "-_=!\n") - {token[-1]}:
        await refused(token[:-1] + last)
        await refused(token + last)


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "é.é.é", "\udcff", "[" * 5000, "a" * 1_000_000])
async def test_rubbish_is_refused_with_one_answer(text: str) -> None:
    assert await refused(text) == "the access token is not valid"
    with pytest.raises(TokenRefused):
        issuer_of(text)


def test_a_short_secret_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        OwnTokens(SECRET[:31])


def test_two_accounts_have_two_tokens() -> None:
    now = datetime.now(UTC)
    assert OwnTokens(SECRET).issue(uuid4(), now=now) != OwnTokens(SECRET).issue(uuid4(), now=now)
