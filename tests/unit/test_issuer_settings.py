"""Other issuers from the settings: whole or not at all, and whatever is wrong is told by the variable's name."""

from __future__ import annotations

import pytest

from front.issuers import foreign_issuers
from front.settings import InvalidSetting, read

ID = "6f1c1c1e-6f0e-4a52-9f53-0f1d8c7a1b11"
SECRET = "s" * 32
AUTH0 = {"AUTH0_DOMAIN": "acme.eu.auth0.com", "AUTH0_AUDIENCE": "https://gauge.example.com"}
SUPABASE = {"SUPABASE_URL": "https://acme.supabase.co"}


def test_without_settings_there_is_no_other_issuer() -> None:
    assert foreign_issuers(read({"SUPABASE_ANON_KEY": "x", "AUTH0_CLIENT_ID": "x"})) == []


def test_each_issuer_has_its_name_and_its_organization() -> None:
    auth0, supabase = foreign_issuers(read({**AUTH0, **SUPABASE, "STREAMGAUGE_AUTH0_ORGANIZATION": ID}))
    assert (auth0.verifier.issuer, str(auth0.organization), auth0.profiles) == ("https://acme.eu.auth0.com/", ID, False)
    assert supabase.verifier.issuer == "https://acme.supabase.co/auth/v1"
    assert (supabase.organization, supabase.profiles) == (None, True)
    (local,) = foreign_issuers(read({"SUPABASE_URL": "http://127.0.0.1:54321/", "SUPABASE_JWT_SECRET": SECRET}))
    assert local.verifier.issuer == "http://127.0.0.1:54321/auth/v1"
    (named,) = foreign_issuers(read({**AUTH0, "AUTH0_ISSUER": "https://login.example.com/"}))
    assert named.verifier.issuer == "https://login.example.com/"


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"AUTH0_DOMAIN": AUTH0["AUTH0_DOMAIN"]}, "AUTH0_AUDIENCE"),
        ({"AUTH0_AUDIENCE": "a"}, "AUTH0_DOMAIN"),
        ({"AUTH0_ISSUER": "https://acme.eu.auth0.com/"}, "AUTH0_DOMAIN"),
        ({"STREAMGAUGE_AUTH0_ORGANIZATION": ID}, "AUTH0_DOMAIN"),
        ({**AUTH0, "AUTH0_DOMAIN": "https://acme.eu.auth0.com"}, "AUTH0_DOMAIN"),
        ({**AUTH0, "AUTH0_DOMAIN": "acme.eu.auth0.com/"}, "AUTH0_DOMAIN"),
        ({**AUTH0, "AUTH0_DOMAIN": "acme.eu.auth0.com\n"}, "AUTH0_DOMAIN"),
        ({**AUTH0, "AUTH0_DOMAIN": "user@evil.example.com"}, "AUTH0_DOMAIN"),
        ({**AUTH0, "AUTH0_ISSUER": "acme"}, "AUTH0_ISSUER"),
        ({**AUTH0, "AUTH0_ISSUER": "http://acme.eu.auth0.com/"}, "AUTH0_ISSUER"),
        ({"SUPABASE_JWT_SECRET": SECRET}, "SUPABASE_URL"),
        ({"SUPABASE_JWKS_URL": "https://acme.supabase.co/keys"}, "SUPABASE_URL"),
        ({"STREAMGAUGE_SUPABASE_ORGANIZATION": ID}, "SUPABASE_URL"),
        ({"SUPABASE_URL": "acme.supabase.co"}, "SUPABASE_URL"),
        ({"SUPABASE_URL": "http://acme.supabase.co"}, "SUPABASE_URL"),
        ({"SUPABASE_URL": "https://acme.supabase.co?x=1"}, "SUPABASE_URL"),
        (
            {**SUPABASE, "SUPABASE_JWT_SECRET": SECRET, "SUPABASE_JWKS_URL": "https://a.example.com/"},
            "SUPABASE_JWKS_URL",
        ),
        ({**SUPABASE, "SUPABASE_JWKS_URL": "http://acme.supabase.co/keys"}, "SUPABASE_JWKS_URL"),
        ({**SUPABASE, "SUPABASE_JWT_SECRET": "s" * 31}, "SUPABASE_JWT_SECRET"),
        (
            {**SUPABASE, "SUPABASE_JWT_SECRET": f"-----BEGIN PUBLIC KEY-----\n{SECRET}\n-----END PUBLIC KEY-----"},
            "SUPABASE_JWT_SECRET",
        ),
        ({**SUPABASE, "SUPABASE_JWT_SECRET": SECRET, "JWT_SECRET": SECRET}, "SUPABASE_JWT_SECRET"),
        ({**AUTH0, **SUPABASE, "AUTH0_ISSUER": "https://acme.supabase.co/auth/v1"}, "AUTH0_ISSUER"),
    ],
)
def test_what_is_half_set_or_not_safe_is_refused_by_name(environment: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        foreign_issuers(read(environment))
    assert str(caught.value).startswith(f"{named}: ")
    assert SECRET not in str(caught.value)
