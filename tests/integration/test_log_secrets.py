"""No secret in the log: a whole service at its most talkative, through everything that handles one, and all it printed searched."""

from __future__ import annotations

import http.client
import json
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.service_process import ServiceProcess

JWT_SECRET = "jwt-secret-that-nobody-may-read-anywhere"
PASSWORD = "a-password-in-the-wrong-field-9"


class Caller:
    """Sends requests, and remembers every secret that went either way."""

    def __init__(self, service: ServiceProcess) -> None:
        self.place = urlsplit(service.url)
        self.secrets = {JWT_SECRET, PASSWORD, *(service.credentials[name] for name in ("api_key", "admin_password"))}
        self.statuses: set[int] = set()

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The answer's JSON, or its text."""
        connection = http.client.HTTPConnection(str(self.place.hostname), self.place.port, timeout=30)
        sent = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
        content = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        connection.request(method, path, content, sent)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        self.statuses.add(answer.status)
        for cookie in re.findall(r"streamgauge_session=([\w-]+)", answer.headers.get("Set-Cookie", "")):
            self.secrets.add(cookie)
        connection.close()
        try:
            found = json.loads(text)
        except ValueError:
            return text
        self._note(found)
        return found

    def _note(self, found: Any) -> None:
        if isinstance(found, dict):
            for name, value in found.items():
                if name in (
                    "access_token",
                    "refresh_token",
                    "ticket",
                    "key",
                    "token",
                    "api_key",
                    "invitation",
                ) and isinstance(value, str):
                    self.secrets.add(value)
                self._note(value)

    def raw(self, content: bytes, *, whole: bool = True) -> bytes:
        """What is answered to bytes that may be no HTTP, and not even `whole`."""
        with socket.create_connection((self.place.hostname, self.place.port), timeout=30) as line:
            line.sendall(content)
            if whole:
                line.shutdown(socket.SHUT_WR)
            read = b""
            while chunk := line.recv(65_536):
                read += chunk
            return read


def test_no_secret_stands_in_anything_that_the_service_prints(tmp_path: Path) -> None:
    environment = {"STREAMGAUGE_LOG_LEVEL": "debug", "STREAMGAUGE_HEAD_SECONDS": "1", "JWT_SECRET": JWT_SECRET}
    with ServiceProcess(tmp_path, environment=environment) as service:
        credentials = service.credentials
        call = Caller(service)
        link = service.sign_in
        call("GET", link.removeprefix(service.url))
        call("GET", link.removeprefix(service.url))
        login = {"email": credentials["admin_email"], "password": credentials["admin_password"]}
        tokens = call("POST", "/api/auth/login", login)
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        call("POST", "/api/auth/login", {**login, "session": True}, Sec_Fetch_Site="same-origin")
        # A password where the address should be, and everywhere else.
        call("POST", "/api/auth/login", {"email": PASSWORD, "password": PASSWORD})
        call("POST", "/api/auth/login", json.dumps({"email": "a@b.example", "password": PASSWORD})[:-1])
        call("POST", "/api/auth/login", {"email": "a@b.example", "password": [PASSWORD], PASSWORD: 1})
        call("POST", "/api/auth/register", {"email": "new@example.com", "password": PASSWORD})
        call("POST", "/api/auth/register", {"email": PASSWORD, "password": PASSWORD})
        refreshed = call("POST", "/api/auth/refresh", {"refresh_token": tokens["refresh_token"]})
        call("POST", "/api/auth/refresh", {"refresh_token": tokens["refresh_token"]})
        call("POST", "/api/auth/logout", {"refresh_token": refreshed.get("refresh_token", "none")})
        made = call("POST", "/api/v1/api-keys", {"name": "a key", "scopes": ["read"]}, **bearer)
        assert any(isinstance(value, str) and value.startswith("sg_") for value in made.values()), made
        call.secrets |= {
            value for value in made.values() if isinstance(value, str) and re.fullmatch(r"sg_\w{8}_\S+", value)
        }
        call("GET", "/api/auth/me", X_API_Key=credentials["api_key"])
        # Bad tokens, good ones cut or bent, in headers and in addresses where they do not belong.
        for text in (tokens["access_token"][:-3], tokens["access_token"] + "x", credentials["api_key"] + "x"):
            call.secrets.add(text)
            call("GET", "/api/auth/me", Authorization=f"Bearer {text}")
            call("GET", "/api/auth/me", Authorization=text)
            for path in ("/api/v1/query", "/ws", "/nothing", "/api/v1/stream", "/health"):
                call("GET", f"{path}?token={text}&access_token={text}&api_key={text}", **bearer)
        ticket = call("POST", "/api/v1/stream/tickets", **bearer)["ticket"]
        for path in (
            f"/ws?ticket={ticket}",
            f"/ws?ticket={ticket}",
            f"/ws/dashboard?ticket={ticket}",
            f"/nothing?ticket={ticket}",
        ):
            call("GET", path)
        key = credentials["api_key"].encode()
        for content in (
            b"GET / HTTP/1.1\r\nHost: x\r\nX Bad " + key + b": a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key + b"\x00\r\n\r\n",
            b"GET /" + key + b" " + key + b" HTTP/1.1\r\n\r\n",
            b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
            + key
            + b"\r\nContent-Length: 90\r\n\r\n{"
            + key,
            key + b"\r\n\r\n",
        ):
            call.raw(content)
        assert b" 408 " in call.raw(b"GET / HTTP/1.1\r\nAuthorization: Bearer " + key, whole=False)
        call("POST", "/api/v1/events", f'{{"{PASSWORD}": "{PASSWORD}"', **bearer)
        call("POST", "/api/v1/events", [{"password": PASSWORD}], **bearer)
        call("GET", f"/api/v1/query?rollup={PASSWORD}&filter={PASSWORD}:{PASSWORD}", **bearer)
        assert call("GET", "/health")["status"] == "ok"
        assert {200, 201, 303, 400, 401, 404, 410, 422} <= call.statuses, call.statuses
        assert service.stop() == 0
        printed = "".join(service.output)
    # The one link that the service hands out by printing it; once used it opens nothing.
    printed = printed.replace(link, "")
    call.secrets.add(urlsplit(link).query.removeprefix("token="))
    assert "head_too_slow" in printed  # it did say everything
    assert len(call.secrets) > 12
    for secret in call.secrets:
        assert len(secret) > 12
        # Not even the part of it that would be enough to guess the rest by.
        for part in (secret, secret[:-4], secret[len(secret) // 3 :]):
            assert part not in printed, next(line for line in printed.splitlines() if part in line)
