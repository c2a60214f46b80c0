"""The principal: what it allows, and that a ticket brings back the same one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest

from api.auth.principal import Principal, person
from storage.identity import Access, Role


@pytest.mark.parametrize("role", ["admin", "owner", "member"])
def test_a_person_may_read_and_write(role: Role) -> None:
    access = Access(uuid4(), "a@example.com", "Ada", uuid4(), "Acme", False, role)
    principal = person(access, expires_at=None)
    assert principal.role == role
    assert principal.allows("read")
    assert principal.allows("events:write")
    assert principal.allows("any")
    assert not principal.allows("everything")
    assert principal.user_ids == (str(access.account),)


def test_a_key_may_do_what_its_scopes_say() -> None:
    principal = Principal(None, uuid4(), "key", frozenset({"events:write"}))
    assert principal.allows("events:write")
    assert principal.allows("any")
    assert not principal.allows("read")
    assert principal.user_ids == ()


def test_a_principal_survives_json() -> None:
    principal = Principal(
        uuid4(),
        uuid4(),
        "owner",
        frozenset({"read", "events:write"}),
        name="Ada",
        email="a@example.com",
        expires_at=datetime(2026, 1, 5, 10, tzinfo=UTC),
        session=b"\x00\xff" * 16,
        subjects=("auth0|ada", "6f1c1c1e-6f0e-4a52-9f53-0f1d8c7a1b11"),
    )
    assert principal.user_ids == (str(principal.account), *principal.subjects)
    assert Principal.from_json(json.loads(json.dumps(principal.to_json()))) == principal


def test_json_that_is_no_principal_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        Principal.from_json({"account": None, "organization": "x", "role": "root", "scopes": []})
