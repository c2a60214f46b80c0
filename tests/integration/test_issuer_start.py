"""`streamgauge run` with another issuer in its environment: what is half set ends it, what is whole lets its people in."""

from __future__ import annotations

from pathlib import Path

from tests.integration.foreign_issuers import SECRET, SUPABASE
from tests.integration.key_server import Issuer
from tests.service_process import ServiceProcess, command


def test_a_short_secret_ends_the_start_before_anything_is_made(data_folder: Path) -> None:
    environment = {"SUPABASE_URL": "https://acme.supabase.co", "SUPABASE_JWT_SECRET": "short-and-secret"}
    process = command("run", data=data_folder, environment=environment)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "SUPABASE_JWT_SECRET: has 16 bytes; it needs at least 32" in output
    assert "short-and-secret" not in output
    assert "Traceback" not in output
    assert not data_folder.exists()


def test_the_environment_is_enough(data_folder: Path) -> None:
    environment = {"SUPABASE_URL": SUPABASE.removesuffix("/auth/v1"), "SUPABASE_JWT_SECRET": SECRET.decode()}
    supabase = Issuer(SUPABASE, "authenticated", "one", SECRET)
    with ServiceProcess(data_folder, environment=environment) as service:
        status, profile, _ = service.request("/api/v1/users/profile", headers=supabase.bearer(email="a@example.com"))
        assert (status, profile["email"]) == (200, "a@example.com")
        status, user, _ = service.request("/users/somebody", headers=supabase.bearer())
        assert (status, user["id"], user["email"]) == (200, "somebody", "a@example.com")
        status, error, _ = service.request("/users/somebody", headers=supabase.bearer(aud="another"))
        assert (status, error["statusCode"], error["message"]) == (401, 401, "the access token is not valid")
