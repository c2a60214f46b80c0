"""Whom a report is handed to: the recipients of a schedule, as its row holds them."""

from __future__ import annotations

import msgspec

MOST_RECIPIENTS = 20


class Mail(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="mail"):
    """A mail with the file attached to it, to one address."""

    address: str


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="webhook"):
    """A POST that tells where the file is, signed with the schedule's secret."""

    url: str


class Store(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="store"):
    """The file in the deployment's folder or bucket."""


Recipient = Mail | Webhook | Store
