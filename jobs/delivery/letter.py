"""What a mail about a report says: its title, its days, its figures digit by digit, the way to the file; or why there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape
from typing import Any

from jobs.delivery.handover import LINK_LASTS, Handover

LARGEST_ATTACHMENT = 20_000_000
"""Bytes of a file that is attached; many servers refuse a mail that is larger than that in base64."""
MOST_FIGURES = 60
MISSING = "–"
"""Stands for a figure that nobody sent."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]+")


def letter(handover: Handover, *, sender: Address, recipient: Address, attached: bytes | None) -> EmailMessage:
    """The mail. Its `Message-ID` is the delivery's key, so that a mail sent twice is known to be one."""
    # Python's headers decode what looks like an encoded word when they are set, line breaks in it too; a name has none.
    subject = _one_line(f"{handover.title}, {_days(handover)}").replace("=?", "= ?")
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = recipient
    mail["Subject"] = subject if handover.succeeded else f"Not made: {subject}"
    mail["Date"] = format_datetime(handover.now)
    mail["Message-ID"] = f"<{handover.key}@{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    lines = list(_lines(handover, attached is not None))
    mail.set_content(_plain(lines))
    mail.add_alternative(_page(lines), subtype="html")
    if attached is not None:
        kind, _, subtype = (handover.run.content_type or "application/octet-stream").partition(";")[0].partition("/")
        mail.add_attachment(attached, maintype=kind, subtype=subtype, filename=handover.run.file_name)
    return mail


def _lines(handover: Handover, attached: bool) -> Iterator[tuple[str, ...]]:
    """What it says, as tuples of what it is and the texts in it."""
    run = handover.run
    yield "title", _one_line(handover.title)
    yield "text", f"{_one_line(handover.organization_name)} · {_days(handover)}"
    if not handover.succeeded:
        yield "text", f"The report could not be made: {_one_line(run.error or '')}"
        yield "text", "There is no file. The next one of its schedule is made at its time."
        return
    summary = handover.summary
    if said := summary.get("summary"):
        yield "text", _one_line(said)
    figures = list(_figures(summary.get("metrics", {})))
    for name, value in figures[:MOST_FIGURES]:
        yield "figure", name, value
    if len(figures) > MOST_FIGURES:
        yield "text", f"{len(figures) - MOST_FIGURES} more figures are in the report."
    if as_of := summary.get("as_of"):
        yield "text", f"Every event accepted up to {as_of} is in it."
    if attached:
        yield "text", f"The report is attached: {run.file_name}"
    elif handover.download_url is None:
        yield (
            "text",
            f"The file ({run.file_name}, {run.size:,} bytes) is too large for a mail: ask your service for it.",
        )
    if handover.download_url is not None:
        yield "link", f"Download it (for {LINK_LASTS.days} days)", handover.download_url


def _figures(metrics: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Names and values; those of a part, such as a currency, with its name before theirs."""
    for name, value in metrics.items():
        title = _one_line(f"{within}{name.replace('_', ' ')}")
        if isinstance(value, Mapping):
            yield from _figures(value, f"{title}: ")
        else:
            yield title, MISSING if value is None else _one_line(str(value))


def _plain(lines: list[tuple[str, ...]]) -> str:
    """The lines as text, paragraphs apart; figures are one."""
    parts: list[str] = []
    for before, line in zip([("", ""), *lines], lines, strict=False):
        match line:
            case ("title", title):
                parts.append(f"{title}\n{'=' * len(title)}")
            case ("figure", name, value) if before[0] == "figure":
                parts[-1] += f"\n  {name}: {value}"
            case ("figure", name, value):
                parts.append(f"  {name}: {value}")
            case ("link", says, address):
                parts.append(f"{says}:\n{address}")
            case (_, text):
                parts.append(text)
    return "\n\n".join(parts) + "\n"


def _page(lines: list[tuple[str, ...]]) -> str:
    body = []
    rows = [line for line in lines if line[0] == "figure"]
    for line in lines:
        match line:
            case ("title", title):
                body.append(f'<h1 style="font-size:20px;margin:0 0 4px">{escape(title)}</h1>')
            case ("figure", _, _):
                if line is rows[0]:
                    body.append(_table(rows))
            case ("link", says, address):
                body.append(f'<p><a href="{escape(address)}">{escape(says)}</a></p>')
            case (_, text):
                body.append(f"<p>{escape(text)}</p>")
    style = "font-family:system-ui,sans-serif;font-size:15px;color:#222;max-width:640px"
    return f'<!doctype html>\n<html lang="en"><body style="{style}">\n' + "\n".join(body) + "\n</body></html>\n"


def _table(rows: list[tuple[str, ...]]) -> str:
    number = "text-align:right;font-variant-numeric:tabular-nums;padding:2px 0 2px 24px"
    cells = "\n".join(
        f'<tr><td>{escape(name)}</td><td style="{number}">{escape(value)}</td></tr>' for _, name, value in rows
    )
    return f'<table style="border-collapse:collapse">\n{cells}\n</table>'


def _days(handover: Handover) -> str:
    days = handover.parameters
    zone = f" ({_one_line(days.tz)})" if days.tz else ""
    return f"{days.first} to {days.last}{zone}"


def _one_line(text: str) -> str:
    """A name as it may stand in a header: neither line breaks nor what turns the direction of writing."""
    return _CONTROLS.sub(" ", text).strip()
