"""The other issuers of access tokens, from the settings: Auth0 and Supabase, each whole or not at all."""

from __future__ import annotations

import re
from uuid import UUID

from api.auth.auth0 import AUTH0_ALGORITHMS, Auth0Tokens
from api.auth.jwks import KeySet, require_https
from api.auth.linking import ForeignIssuer
from api.auth.supabase import SUPABASE_ALGORITHMS, SupabaseTokens
from api.auth.tokens import OwnTokens
from front.settings import InvalidSetting, Settings, variable
from storage.database import Database
from storage.organizations import existing

_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+", re.IGNORECASE)
_LONGEST = 2048


def foreign_issuers(settings: Settings) -> list[ForeignIssuer]:
    """Those that are set. Raises InvalidSetting, which names the variable, for one that is half set, or set in a way that is not safe."""
    found = [issuer for issuer in (_auth0(settings), _supabase(settings)) if issuer is not None]
    names = [OwnTokens.issuer, *(issuer.verifier.issuer for issuer in found)]
    if len(set(names)) != len(names):
        raise InvalidSetting("AUTH0_ISSUER: is another issuer's name")
    return found


def issuer_names(settings: Settings) -> tuple[str, ...]:
    """What the issuers that are set are called, for a sign-in form."""
    found = (("auth0", settings.auth0_domain), ("supabase", settings.supabase_url))
    return tuple(name for name, setting in found if setting is not None)


async def require_organizations(settings: Settings, database: Database) -> None:
    """Raises InvalidSetting where an organization that new users are to join does not exist."""
    wanted: dict[str, UUID] = {}
    for field in ("auth0_organization", "supabase_organization"):
        organization = getattr(settings, field)
        if organization is not None:
            wanted[field] = organization
    if not wanted:
        return
    there = await existing(database, set(wanted.values()))
    for field, organization in wanted.items():
        if organization not in there:
            raise InvalidSetting(f"{variable(field)}: no organization has this id")


def _auth0(settings: Settings) -> ForeignIssuer | None:
    domain, audience = settings.auth0_domain, settings.auth0_audience
    if domain is None:
        _refuse_without(settings, "AUTH0_DOMAIN", "auth0_audience", "auth0_issuer", "auth0_organization")
        return None
    if audience is None:
        raise InvalidSetting(
            "AUTH0_AUDIENCE: is needed where AUTH0_DOMAIN is set; tokens for other APIs are not for us"
        )
    if not _DOMAIN.fullmatch(domain):
        raise InvalidSetting("AUTH0_DOMAIN: expected a domain such as acme.eu.auth0.com, without https://")
    issuer = settings.auth0_issuer or f"https://{domain}/"
    _require_https("AUTH0_ISSUER", issuer)
    keys = KeySet(f"https://{domain}/.well-known/jwks.json", AUTH0_ALGORITHMS)
    return ForeignIssuer(Auth0Tokens(issuer, audience, keys), settings.auth0_organization)


def _supabase(settings: Settings) -> ForeignIssuer | None:
    if settings.supabase_url is None:
        _refuse_without(settings, "SUPABASE_URL", "supabase_jwt_secret", "supabase_jwks_url", "supabase_organization")
        return None
    _require_https("SUPABASE_URL", settings.supabase_url)
    issuer = settings.supabase_url.rstrip("/") + "/auth/v1"
    secret = settings.supabase_jwt_secret
    if secret is not None and settings.supabase_jwks_url is not None:
        raise InvalidSetting(
            "SUPABASE_JWKS_URL: stands beside SUPABASE_JWT_SECRET; exactly one of the two says what is believed"
        )
    keys: bytes | KeySet
    if secret is None:
        url = settings.supabase_jwks_url or f"{issuer}/.well-known/jwks.json"
        _require_https("SUPABASE_JWKS_URL", url)
        keys = KeySet(url, SUPABASE_ALGORITHMS)
    else:
        if secret == settings.jwt_secret:
            raise InvalidSetting(
                "SUPABASE_JWT_SECRET: is JWT_SECRET too; who knows the one could make tokens of the other"
            )
        keys = secret.encode()
    try:
        verifier = SupabaseTokens(issuer, keys)
    except ValueError as error:
        raise InvalidSetting(f"SUPABASE_JWT_SECRET: {error}") from error
    return ForeignIssuer(verifier, settings.supabase_organization, profiles=True)


def _refuse_without(settings: Settings, needed: str, *fields: str) -> None:
    for field in fields:
        if getattr(settings, field) is not None:
            raise InvalidSetting(f"{needed}: is needed where {variable(field)} is set")


def _require_https(name: str, url: str) -> None:
    try:
        require_https(url)
    except ValueError as error:
        raise InvalidSetting(f"{name}: {error}") from None
    if len(url) > _LONGEST or "?" in url:
        raise InvalidSetting(f"{name}: expected a plain address, without a query")
