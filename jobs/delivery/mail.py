"""Reports by mail: one mail a recipient, over one SMTP server. The only place that knows aiosmtplib."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from email.headerregistry import Address

import aiosmtplib

from jobs.delivery.handover import DeliveryRefused, Handover, NotDelivered
from jobs.delivery.letter import LARGEST_ATTACHMENT, letter
from storage.report_recipients import Mail

ANSWER_S = 60.0
"""How long is waited for each answer of the server."""


@dataclass(frozen=True)
class SmtpServer:
    """The server that takes the mails. `tls`: from the first byte. `starttls`: True insists on it, None takes it where it is offered."""

    host: str
    port: int
    tls: bool = False
    starttls: bool | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)


class Mailer:
    """Mails reports from `sender`."""

    def __init__(self, server: SmtpServer, sender: Address, *, trusted: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._sender = sender
        self._trusted = trusted

    async def hand_over(self, handover: Handover) -> None:
        """Returns once the server has taken the mail.

        Raises DeliveryRefused where it refuses the recipient or the mail for good (5xx), NotDelivered for everything else: what is
        wrong with the server or with our access to it can be put right.
        """
        assert isinstance(handover.recipient, Mail)
        recipient = _address(handover.recipient.address)
        small = handover.succeeded and (handover.run.size or 0) <= LARGEST_ATTACHMENT
        attached = await handover.artefact() if small else None
        mail = letter(handover, sender=self._sender, recipient=recipient, attached=attached)
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.tls,
            start_tls=False if server.tls else server.starttls,
            username=server.username,
            password=server.password,
            local_hostname=self._sender.domain,
            tls_context=self._trusted,
            timeout=ANSWER_S,
        )
        try:
            await client.connect()
            try:
                await client.send_message(mail, sender=self._sender.addr_spec, recipients=[recipient.addr_spec])
            finally:
                # Without a word of farewell: to wait for its answer would be to wait with the yes uncommitted.
                client.close()
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _refusal(error.recipients[0].code, error.recipients[0].message) from error
        except aiosmtplib.SMTPDataError as error:
            raise _refusal(error.code, error.message) from error
        except aiosmtplib.SMTPNotSupported as error:
            raise NotDelivered(f"the mail server lacks what is needed: {_said(error.message)}") from error
        except aiosmtplib.SMTPResponseException as error:
            raise NotDelivered(f"the mail server says {error.code} {_said(error.message)}") from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise NotDelivered(
                f"the mail server cannot be used: {_said(str(error)) or type(error).__name__}"
            ) from error


def _address(text: str) -> Address:
    """The address, its domain as the network writes it. Raises DeliveryRefused."""
    try:
        local, at, domain = text.rpartition("@")
        if not at or len(text) > 254 or not text.isprintable() or " " in text:
            raise ValueError
        return Address(addr_spec=f"{local}@{domain.encode('idna').decode()}")
    except (ValueError, IndexError, UnicodeError):
        raise DeliveryRefused(f"{text[:100]!r} is no mail address") from None
    except Exception as error:
        # The parser of addresses has errors of its own, which have no common name.
        if type(error).__module__.startswith("email."):
            raise DeliveryRefused(f"{text[:100]!r} is no mail address") from None
        raise


def _refusal(code: int, message: str) -> DeliveryRefused | NotDelivered:
    text = f"the mail server says {code} {_said(message)}"
    return DeliveryRefused(text) if 500 <= code < 600 else NotDelivered(text)


def _said(message: str) -> str:
    return " ".join(message.split())[:300]
