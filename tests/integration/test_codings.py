"""Compressed answers: the same bytes in every coding, kept or not, and a 304 whatever the coding was."""

from __future__ import annotations

import gzip
from typing import Any

import aiohttp
import pytest
import zstandard

from api.compression import LEAST, coding
from tests.integration.api_service import Api
from tests.integration.kept_answers import cache_of, confirmed, send

QUESTION = "/api/v1/query?rollup=system_metrics&group_by=host,metric"


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [
        (None, "identity"),
        ("", "identity"),
        ("identity", "identity"),
        ("br", "identity"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=0.9, zstd;q=0.5", "gzip"),
        ("gzip;q=0, zstd;q=0", "identity"),
        ("*", "zstd"),
        ("*;q=0.5, zstd;q=0", "gzip"),
        ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=x", "identity"),
        ("GZIP", "gzip"),
        ("gzip" * 100, "identity"),
    ],
)
def test_the_coding_is_the_one_that_the_client_prefers(accepted: str | None, wanted: str) -> None:
    assert coding(accepted) == wanted


async def raw(api: Api, path: str, accepted: str, **headers: str) -> tuple[int, Any, bytes]:
    """An answer as it was sent."""
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(api.url + path, headers={**api.headers, "Accept-Encoding": accepted, **headers}) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


def unpacked(body: bytes, how: str | None) -> bytes:
    if how == "gzip":
        return gzip.decompress(body)
    return zstandard.ZstdDecompressor().decompress(body) if how == "zstd" else body


async def test_a_kept_answer_is_the_same_in_every_coding_and_compressed_once(api: Api) -> None:
    await confirmed(api)
    await send(api, *(api.system(f"host-{number}", cpu_usage=number) for number in range(50)))
    _, plain_headers, plain = await raw(api, QUESTION, "identity")
    assert len(plain) > LEAST
    assert "Content-Encoding" not in plain_headers
    for how in ("gzip", "zstd"):
        _, first, body = await raw(api, QUESTION, how)
        assert (first["Content-Encoding"], unpacked(body, how)) == (how, plain)
        assert len(body) < len(plain)
        assert first["ETag"] == f"W/{plain_headers['ETag']}"
        size = cache_of(api).memory.bytes
        assert (await raw(api, QUESTION, how))[2] == body
        assert cache_of(api).memory.bytes == size
        for tag in (first["ETag"], plain_headers["ETag"]):
            status, headers, nothing = await raw(api, QUESTION, how, **{"If-None-Match": tag})
            assert (status, nothing, headers["ETag"]) == (304, b"", first["ETag"])
            assert headers["X-As-Of"]
        for headers in (first, plain_headers):
            assert {name.strip() for name in headers["Vary"].split(",")} == {"Accept", "Accept-Encoding"}
    assert cache_of(api).misses == 1
    # A small one stays as it is.
    _, headers, body = await raw(api, "/users/top", "gzip")
    assert ("Content-Encoding" in headers, body) == (False, b"[]")
    assert (await raw(api, "/users/top", "gzip"))[2] == b"[]"


async def test_old_clients_and_those_that_close_are_answered_from_memory_too(api: Api) -> None:
    await confirmed(api)
    first = await api.request("GET", "/api/v1/dashboard/stats")
    async with (
        aiohttp.ClientSession(version=aiohttp.HttpVersion10) as session,
        session.get(f"{api.url}/api/v1/dashboard/stats", headers=api.headers) as answer,
    ):
        assert (answer.status, await answer.read()) == (200, first.body)
        assert answer.headers["ETag"] == first.headers["ETag"]
    closing = await api.request("GET", "/api/v1/dashboard/stats", headers={"Connection": "close"})
    assert (closing.status, closing.body, closing.headers["Connection"]) == (200, first.body, "close")
    known = {"Connection": "close", "If-None-Match": first.headers["ETag"]}
    assert (await api.request("GET", "/api/v1/dashboard/stats", headers=known)).status == 304
    assert cache_of(api).misses == 1


async def test_what_is_not_kept_is_compressed_too_but_no_stream(api: Api) -> None:
    _, headers, body = await raw(api, "/openapi.json", "gzip")
    assert (headers["Content-Encoding"], headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert b"Streamgauge" in gzip.decompress(body)
    status, headers, body = await raw(api, "/api/v1/rollups", "zstd")
    assert (status, headers["Content-Encoding"]) == (200, "zstd")
    assert b"trade_pnl" in unpacked(body, "zstd")
    assert (await raw(api, "/api/v1/rollups", "zstd", **{"If-None-Match": headers["ETag"]}))[0] == 304
    async with api.stream(mode="events", headers={"Accept-Encoding": "gzip, zstd"}) as stream:
        assert "Content-Encoding" not in stream.answer.headers
