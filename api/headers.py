"""What browsers are told with every answer: to run nothing, to show it in nobody's frame, to give it to no other site."""

from __future__ import annotations

CONSTANT = {"X-Content-Type-Options": "nosniff", "Server": "streamgauge"}
"""What stands in every head, whatever the answer says. aiohttp would name itself, Python and both versions."""

DEFAULTS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
"""What stands in every head that says nothing else of it. A page says what it may load.

`same-origin` keeps other sites from embedding an answer; what scripts of other sites may read is said by api.cors.
"""

_YEAR_S = 31_536_000


def strict_transport(public_url: str | None) -> dict[str, str]:
    """`Strict-Transport-Security` where people reach the service over https, else nothing."""
    if public_url is None or not public_url.lower().startswith("https://"):
        return {}
    return {"Strict-Transport-Security": f"max-age={_YEAR_S}"}
