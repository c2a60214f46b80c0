"""Compressed answers: which coding a client prefers, and the bytes of it. Streams are never compressed."""

from __future__ import annotations

import asyncio
import gzip
from functools import lru_cache
from typing import Literal

import zstandard
from aiohttp import web

Coding = Literal["identity", "gzip", "zstd"]

LEAST = 1_024
"""Bytes; a smaller body travels in one packet anyway."""
THREAD_ABOVE = 64 * 1024
"""Larger bodies are compressed in a thread, so that other requests go on."""

_TYPES = frozenset(
    {
        "application/json",
        "application/problem+json",
        "text/csv",
        "text/html",
        "text/plain",
        "text/css",
    }
)
_LONGEST = 256


def coding(accepted: str | None) -> Coding:
    """The coding that an `Accept-Encoding` prefers among ours; where it prefers none, zstd before gzip."""
    if not accepted:
        return "identity"
    return _known(accepted) if len(accepted) <= _LONGEST else _coding(accepted)


def _coding(accepted: str) -> Coding:
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        key, _, value = parameter.partition("=")
        try:
            weights[name.strip()] = float(value) if key.strip() == "q" else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    weights.setdefault("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    weights.setdefault("zstd", weights.get("*", 0.0))
    best: Coding = "zstd" if weights["zstd"] >= weights["gzip"] else "gzip"
    plain = weights.get("identity", 0.0)
    return best if weights[best] > 0 and weights[best] >= plain else "identity"


_known = lru_cache(maxsize=256)(_coding)


def compressible(content_type: str, size: int) -> bool:
    """Whether a body of this type and size gets smaller by so much that it pays."""
    return size >= LEAST and content_type.partition(";")[0].strip() in _TYPES


def compress(body: bytes, how: Coding) -> bytes:
    """The body in a coding; equal bodies have equal bytes."""
    if how == "gzip":
        return gzip.compress(body, 6, mtime=0)
    if how == "zstd":
        return zstandard.ZstdCompressor(level=3).compress(body)
    return body


async def compressed(body: bytes, how: Coding) -> bytes:
    """The same, off the event loop where it takes long."""
    return compress(body, how) if len(body) < THREAD_ABOVE else await asyncio.to_thread(compress, body, how)


def weak(tag: str) -> str:
    """The ETag of the same answer in other bytes: a strong one would promise equal bytes."""
    return tag if tag.startswith("W/") else f"W/{tag}"


def vary(response: web.Response, name: str) -> None:
    """Adds a request header to those that the answer depends on."""
    known = response.headers.get("Vary")
    if known is None:
        response.headers["Vary"] = name
    elif name.lower() not in known.lower():
        response.headers["Vary"] = f"{known}, {name}"


async def compress_answer(request: web.Request, response: web.Response) -> None:
    """Compresses an answer in place, if its client takes that and it is large enough."""
    body = response.body
    headers = response.headers
    if (
        not isinstance(body, bytes)
        or "Content-Encoding" in headers
        or not compressible(headers.get("Content-Type", ""), len(body))
    ):
        return
    vary(response, "Accept-Encoding")
    how = coding(request.headers.get("Accept-Encoding"))
    # What must not be stored holds secrets, whose size compression would tell something of.
    if how == "identity" or "no-store" in headers.get("Cache-Control", ""):
        return
    response.body = await compressed(body, how)
    headers["Content-Encoding"] = how
    if "ETag" in headers:
        headers["ETag"] = weak(headers["ETag"])
