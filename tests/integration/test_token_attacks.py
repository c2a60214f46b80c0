"""Tokens that somebody made who is no issuer, or another one: none is let in, and none makes us fetch anything."""

from __future__ import annotations

import asyncio
import json
import string
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.auth.tokens import TokenRefused, issuer_of
from tests.integration.foreign_issuers import KINDS, SECRET, SUPABASE, World, believed, refused
from tests.integration.key_server import Issuer, ec_key, key_server, published, rsa_key, segment


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with believed() as running:
        yield running


HEADERS: dict[str, dict[str, Any]] = {
    "an unknown extension that must be understood": {"crit": ["exp"], "exp": 1},
    "an empty list of them": {"crit": []},
    "no list of them": {"crit": "exp"},
    "a known one": {"crit": ["b64"], "b64": True},
    "another type": {"typ": "JWE"},
    "an ID token's type": {"typ": "id+jwt"},
    "a logout token": {"typ": "logout+jwt"},
    "no type": {"typ": None},
    "a type that is no text": {"typ": 7},
    "compressed": {"zip": "DEF"},
    "encrypted": {"enc": "A128GCM"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", HEADERS)
async def test_headers_that_say_something_else(world: World, kind: str, wrong: str) -> None:
    issuer = world.issuers[kind]
    good = {"typ": "JWT", "kid": "one"}
    await world.verifiers[kind].verify(issuer.exactly(good))
    await refused(world.verifiers[kind], issuer.exactly({**good, **HEADERS[wrong]}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, 7, ["none"]])
async def test_a_token_that_nobody_signed(world: World, kind: str, algorithm: Any) -> None:
    issuer = world.issuers[kind]
    now = int(datetime.now(UTC).timestamp())
    body = f"{segment({'alg': algorithm, 'typ': 'JWT', 'kid': 'one'})}.{segment({**issuer.claims(), 'iat': now, 'exp': now + 300})}"
    signature = issuer.token().rpartition(".")[2]
    await refused(world.verifiers[kind], body, f"{body}.", f"{body}.{signature}")


def known_texts(issuer: Issuer) -> list[bytes]:
    """All that is public of an issuer's key, in every form that somebody may take for a secret."""
    assert not isinstance(issuer.key, bytes)
    public = issuer.key.public_key()
    jwk = published("one", issuer.key)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return [
        pem,
        pem.strip(),
        pem.replace(b"\n", b"\r\n"),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(jwk).encode(),
        json.dumps({"keys": [jwk]}).encode(),
        str(jwk.get("n", jwk.get("x"))).encode(),
        b"one",
        b"",
    ]


@pytest.mark.parametrize("kind", ["auth0", "supabase by key set"])
async def test_what_is_public_of_a_key_signs_nothing(world: World, kind: str) -> None:
    issuer = world.issuers[kind]
    now = int(datetime.now(UTC).timestamp())
    claims = {**issuer.claims(), "iat": now, "exp": now + 300}
    for secret in known_texts(issuer):
        for name in ("HS256", "HS384", "HS512"):
            algorithm = jwt.algorithms.HMACAlgorithm(getattr(jwt.algorithms.HMACAlgorithm, f"SHA{name[2:]}"))
            head = f"{segment({'alg': name, 'typ': 'JWT', 'kid': 'one'})}.{segment(claims)}"
            await refused(world.verifiers[kind], f"{head}.{segment(algorithm.sign(head.encode(), secret))}")


async def test_other_algorithms_with_the_right_key(world: World) -> None:
    for algorithm in ("RS384", "RS512", "PS256", "PS512"):
        await refused(world.verifiers["auth0"], world.issuers["auth0"].token(header={"alg": algorithm}))
    for algorithm in ("HS384", "HS512"):
        claims = world.issuers["supabase by secret"].claims()
        with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
            token = jwt.encode(claims, SECRET, algorithm=algorithm)
        await refused(world.verifiers["supabase by secret"], token)
    # The RSA key's name with the other family's algorithm, and the other way round.
    await refused(
        world.verifiers["supabase by key set"],
        Issuer(SUPABASE, "authenticated", "rsa", ec_key("supabase")).token(),
        Issuer(SUPABASE, "authenticated", "one", rsa_key("supabase")).token(),
        Issuer(SUPABASE, "authenticated", "one", SECRET).token(),
    )
    await refused(
        world.verifiers["supabase by secret"], Issuer(SUPABASE, "authenticated", "one", ec_key("supabase")).token()
    )


async def test_no_issuer_speaks_for_another(world: World) -> None:
    for kind in KINDS:
        for other in KINDS:
            stolen = Issuer(
                world.issuers[other].issuer, world.issuers[other].audience, "one", world.issuers[kind].key
            ).token()
            if kind != other:
                await refused(world.verifiers[other], stolen)
        own = Issuer("streamgauge", "streamgauge", "one", world.issuers[kind].key).token()
        await refused(world.verifiers[kind], own)


KIDS: dict[str, Any] = {
    "traversal": "../../../../etc/passwd",
    "an address": "https://evil.example.com/jwks.json",
    "SQL": "one' or '1'='1'; drop table store.account; --",
    "a NUL": "one\x00",
    "empty": "",
    "long": "x" * 257,
    "blanks": " one",
    "another case": "ONE",
    "absent": None,
    "a number": 1,
    "a list": ["one"],
    "an object": {"kid": "one"},
    "half a character": "\ud800",
}


@pytest.mark.parametrize("kind", ["auth0", "supabase by key set"])
@pytest.mark.parametrize("kid", KIDS)
async def test_a_key_name_is_a_name_and_nothing_else(world: World, kind: str, kid: str) -> None:
    issuer = world.issuers[kind]
    header = {"typ": "JWT", "kid": KIDS[kid]} if KIDS[kid] is not None else {"typ": "JWT"}
    await refused(world.verifiers[kind], issuer.exactly(header))
    server = world.servers[kind]
    assert (server.asked <= 1, server.strayed) == (True, [])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_token_of_a_megabyte_is_not_looked_into(world: World, kind: str) -> None:
    issuer = world.issuers[kind]
    await refused(
        world.verifiers[kind],
        issuer.token(header={"kid": "x" * 1_000_000}),
        issuer.token(sub="x" * 1_000_000),
        "a" * 1_000_000,
        segment(b"[" * 5_000) + "." + segment(b"[" * 100) + ".x",
    )
    assert world.asked == 0
    with pytest.raises(TokenRefused):
        issuer_of(issuer.token(sub="x" * 1_000_000))
    number = b'{"iss": ' + b"9" * 5_000 + b"}"
    huge_number = f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment(number)}.x"
    with pytest.raises(TokenRefused):
        issuer_of(huge_number)
    await refused(world.verifiers[kind], huge_number)


async def test_a_flood_of_made_up_key_names_is_one_fetch(world: World) -> None:
    issuer, verifier = world.issuers["auth0"], world.verifiers["auth0"]
    claims = issuer.claims()
    thief = rsa_key("thief")
    tokens = [jwt.encode(claims, thief, algorithm="RS256", headers={"kid": f"{number}"}) for number in range(200)]
    answers = await asyncio.gather(*(verifier.verify(token) for token in tokens), return_exceptions=True)
    assert {type(answer) for answer in answers} == {TokenRefused}
    assert world.servers["auth0"].asked == 1
    await verifier.verify(issuer.token())
    assert world.servers["auth0"].asked == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_keys_that_a_token_brings_along_are_not_looked_at(world: World, kind: str) -> None:
    thief = rsa_key("thief")
    async with key_server(published("one", thief), published("theirs", thief)) as evil:
        issuer = Issuer(world.issuers[kind].issuer, world.issuers[kind].audience, "one", thief)
        for kid in ("one", "theirs"):
            for brought in (
                {"jku": evil.url},
                {"x5u": evil.url},
                {"jwk": published("one", thief)},
                {"x5c": ["MIIB"]},
                {"jku": evil.url, "x5u": evil.url, "jwk": published("theirs", thief)},
            ):
                await refused(world.verifiers[kind], issuer.token(header={"kid": kid, **brought}))
        # In a token that is good they mean nothing.
        await world.verifiers[kind].verify(world.issuers[kind].token(header={"jku": evil.url, "x5u": evil.url}))
        assert (evil.asked, evil.strayed) == (0, [])


@pytest.mark.parametrize("kind", KINDS)
async def test_not_one_bit_can_be_changed(world: World, kind: str) -> None:
    verifier = world.verifiers[kind]
    token = world.issuers[kind].token(sub="a").encode()
    tried = 0
    for place in range(len(token)):
        for bit in range(8):
            changed = token[:place] + bytes([token[place] ^ 1 << bit]) + token[place + 1 :]
            with pytest.raises(TokenRefused):
                await verifier.verify(changed.decode("latin-1"))
            tried += 1
    assert tried > 1_500
    await verifier.verify(token.decode())
    for last in set(string.ascii_letters + string.digits + "-_=!\n") - {chr(token[-1])}:
        await refused(verifier, token[:-1].decode() + last, token.decode() + last)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", ["", ".", "..", "...", "a.b.c", "é.é.é", "\udcff.a.b", "e30.e30.", "e30.e30.e30", "bnVsbA.bnVsbA.x"]
)
async def test_rubbish(world: World, kind: str, text: str) -> None:
    await refused(world.verifiers[kind], text)
    assert world.asked == 0
