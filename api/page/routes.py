"""The page at `/` and the files that it loads, which the browser keeps until their content is another."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import structlog
from aiohttp import web

from api.errors import Problem
from api.page.charts import CHARTS
from api.page.vega import RETRY_AFTER_S, NotMade, VegaModule
from api.routing import Route

log = structlog.get_logger(__name__)

_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_VEGA = "vega.js"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What the page may load: this service's own files. No inline script, no inline style, no eval; forms are sent by script."""

_PAGE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Cache-Control": "no-cache",
}
_FILE_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}


class Page:
    """The page's files. All stand under one version, the digest of their content, so that modules find each other by their names."""

    def __init__(self, folder: Path, vega: VegaModule) -> None:
        self._vega = vega
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in _TYPES}
        html = (folder / "page.html").read_bytes()
        digest = hashlib.blake2b(vega.ingredients, digest_size=10)
        for name, content in {**files, "page.html": html}.items():
            digest.update(name.encode() + b"\0" + content + b"\0")
        self.version = digest.hexdigest()
        self._html = html.replace(b"{version}", self.version.encode())
        self._files = {name: (content, gzip.compress(content, 9, mtime=0)) for name, content in files.items()}

    async def page(self, _: web.Request) -> web.StreamResponse:
        """The shell; its figures come from the API with the reader's session."""
        headers = {**_PAGE_HEADERS, "ETag": f'"{self.version}"'}
        return web.Response(body=self._html, content_type="text/html", charset="utf-8", headers=headers)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A script, the style sheet or the icon."""
        name = request.match_info["file"]
        if request.match_info["version"] != self.version or (name not in self._files and name != _VEGA):
            raise Problem(404, "there is nothing at this path")
        headers = {**_FILE_HEADERS, "ETag": f'"{self.version}"'}
        if name == _VEGA:
            packed = await self._drawing_library()
            content = None
        else:
            content, packed = self._files[name]
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            body = packed
        else:
            body = content if content is not None else gzip.decompress(packed)
        return web.Response(body=body, content_type=_TYPES[Path(name).suffix], charset="utf-8", headers=headers)

    async def _drawing_library(self) -> bytes:
        try:
            return await self._vega.gzipped()
        except NotMade as error:
            log.error("drawing_library_not_made", reason=str(error))
            raise Problem(
                503, "the drawing library could not be made", headers={"Retry-After": f"{RETRY_AFTER_S:.0f}"}
            ) from None


def routes() -> list[Route]:
    """The page and what it loads."""
    page = Page(Path(__file__).parent, VegaModule(CHARTS))
    return [
        Route("GET", "/", page.page, "The page", scope=None, media="text/html", anonymous=True),
        Route(
            "GET",
            "/page/{version}/{file}",
            page.file,
            "A file of the page",
            scope=None,
            media="text/javascript",
            errors=(404, 503),
            anonymous=True,
        ),
    ]
