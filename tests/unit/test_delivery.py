"""What a mail about a report says, which addresses a webhook may have, how it is signed, and what the settings allow."""

from __future__ import annotations

import base64
import datetime as dt
from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any, cast
from uuid import UUID

import pytest

from front.delivering import channels, mail_sender, smtp_server
from front.settings import InvalidSetting, Settings
from jobs.delivery.addresses import is_public
from jobs.delivery.folder import ReportFolder
from jobs.delivery.handover import Handover
from jobs.delivery.letter import LARGEST_ATTACHMENT, letter
from jobs.delivery.mail import SmtpServer
from jobs.delivery.object_name import object_name
from jobs.delivery.webhook import webhook_signature
from storage.report_deliveries import FinishedRun
from storage.report_recipients import Mail

NOON = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
RUN = UUID(int=7)
SUMMARY = (
    '{"summary":"Net 1.","metrics":{"trades":3,"net_total":null,"<b>x</b>":"=1+1",'
    '"USD":{"net":12345678901234567.890123456789012345,"win_rate":53.20,"small":-0.000000000000000001}},'
    '"as_of":"2026-03-10T11:59:00Z"}'
)


async def _no_file() -> bytes:
    raise AssertionError


def handover(organization: str = "Acme", **changed: Any) -> Handover:
    values: dict[str, Any] = {
        "type": "pnl",
        "format": "pdf",
        "status": "succeeded",
        "parameters": '{"first":"2026-03-02","last":"2026-03-08","tz":"Europe/Berlin"}',
        "created_at": NOON,
        "finished_at": NOON,
        "error": None,
        "summary": SUMMARY,
        "generated_at": NOON,
        "file_name": "pnl.pdf",
        "content_type": "application/pdf",
        "size": 3,
        "period": None,
        "schedule": None,
        "schedule_name": None,
        "secret": None,
    }
    url = changed.pop("url", "https://gauge.example/file?a=1&b=2")
    return Handover(
        key=f"{RUN}-0",
        id=RUN,
        organization=UUID(int=1),
        organization_name=organization,
        recipient=Mail("ann@example.org"),
        run=FinishedRun(**{**values, **changed}),
        artefact=_no_file,
        download_url=url,
        now=NOON,
    )


def sent(given: Handover, attached: bytes | None = b"pdf") -> EmailMessage:
    """The mail as its reader's program gets it."""
    sender = Address("Gauge", addr_spec="reports@gauge.example")
    mail = letter(given, sender=sender, recipient=Address(addr_spec="ann@example.org"), attached=attached)
    return cast(EmailMessage, message_from_bytes(mail.as_bytes(), policy=policy.default))


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def test_a_mail_has_the_figures_to_the_last_digit_as_text_and_as_page() -> None:
    mail = sent(handover())
    text, page = body(mail, "plain"), body(mail, "html")
    for shown in ("12345678901234567.890123456789012345", "53.20", "-0.000000000000000001", "Net 1."):
        assert shown in text
        assert shown in page
    assert "  USD: win rate: 53.20\n" in text
    assert "  net total: –\n" in text
    assert "<b>x</b>: =1+1" in text
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<b>" not in page
    assert "https://gauge.example/file?a=1&b=2" in text
    assert 'href="https://gauge.example/file?a=1&amp;b=2"' in page
    assert mail["Subject"] == "P&L statement, 2026-03-02 to 2026-03-08 (Europe/Berlin)"
    assert (mail["Message-ID"], mail["Auto-Submitted"]) == (f"<{RUN}-0@gauge.example>", "auto-generated")
    assert mail["Date"].datetime == NOON
    [attached] = mail.iter_attachments()
    assert (attached.get_content(), attached.get_filename(), attached.get_content_type()) == (
        b"pdf",
        "pnl.pdf",
        "application/pdf",
    )


@pytest.mark.parametrize("name", ["a\r\nBcc: all@example.org", "Wöchentlich 週報 📈", "x\u2028\u202ey\x00z", "n" * 200])
def test_names_are_text_in_headers_too(name: str) -> None:
    mail = sent(handover(organization=name, schedule_name=name))
    assert mail.keys().count("To") == 1
    assert "Bcc" not in mail
    subject = mail["Subject"]
    assert subject.endswith(", 2026-03-02 to 2026-03-08 (Europe/Berlin)")
    assert not set(subject) & set("\r\n\x00\u2028\u202e")
    assert subject.startswith(name[:1])
    assert name.splitlines()[0][:1] in body(mail, "plain")


@pytest.mark.parametrize("said", ["q?a=0d=0aBcc:_all@example.org", "q?=00", "q?=ff", "b?4oCu"])
def test_a_name_that_looks_like_an_encoded_word_is_a_name(said: str) -> None:
    mail = sent(handover(schedule_name=f"Week =?utf-8?{said}?= ü"))
    assert "Bcc" not in mail
    assert mail["Subject"] == f"Week = ?utf-8?{said}?= ü, 2026-03-02 to 2026-03-08 (Europe/Berlin)"


def test_a_file_that_is_too_large_is_behind_the_link() -> None:
    large = handover(size=LARGEST_ATTACHMENT + 1)
    assert list(sent(large, None).iter_attachments()) == []
    assert "https://gauge.example/file" in body(sent(large, None), "plain")
    assert "20,000,001 bytes) is too large" in body(
        sent(handover(size=LARGEST_ATTACHMENT + 1, url=None), None), "plain"
    )


def test_an_objects_name_is_the_same_for_the_same_run_and_never_leaves_its_folder() -> None:
    assert object_name(handover()) == f"{UUID(int=1)}/pnl/2026-03-10/{RUN}-pnl.pdf"
    due = handover(schedule=UUID(int=2), period=dt.datetime(2026, 3, 9, 8), file_name="../../é.pdf")  # noqa: DTZ001
    assert object_name(due) == f"{UUID(int=1)}/{UUID(int=2)}/2026-03-09T08-00/{RUN}-.._.._.pdf"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        *((one, False) for one in ("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0")),
        *(
            (one, False)
            for one in ("100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1")
        ),
        *(
            (one, False)
            for one in (
                "::ffff:127.0.0.1",
                "64:ff9b::7f00:1",
                "64:ff9b:1::7f00:1",
                "::7f00:1",
                "2002:7f00:1::",
                "ff02::1",
                "fec0::1",
            )
        ),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::5db8:d822", True),
    ],
)
def test_addresses_of_networks_are_no_webhooks(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_webhook_is_signed_as_the_standard_says() -> None:
    # The example of the standard's own libraries.
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = webhook_signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_mail_server_is_read_from_its_address() -> None:
    assert smtp_server("smtp://mail.example.com") == SmtpServer("mail.example.com", 587)
    assert smtp_server("smtp://me:p%40ss@mail.example.com:25") == SmtpServer(
        "mail.example.com", 25, starttls=True, username="me", password="p@ss"
    )
    assert smtp_server("smtp://me:p@h?starttls=false").starttls is False
    assert smtp_server("smtps://me:p@h") == SmtpServer("h", 465, tls=True, username="me", password="p")
    assert "p@ss" not in repr(smtp_server("smtp://me:p%40ss@h"))
    for bad in (
        "mail.example.com",
        "http://h",
        "smtp://",
        "smtp://h:x",
        "smtp://h?starttls=no",
        "smtps://h?starttls=true",
        "smtp://h/a",
    ):
        with pytest.raises(InvalidSetting, match="STREAMGAUGE_SMTP_URL"):
            smtp_server(bad)


def test_a_sender_is_an_address() -> None:
    assert mail_sender("Gauge <a@b.org>") == Address("Gauge", addr_spec="a@b.org")
    assert mail_sender("a@b.org").domain == "b.org"
    for bad in ("", "Gauge", "a@b@c", "a@b.org\r\nBcc: c@d.org", "Gauge <>", "@b.org"):
        with pytest.raises(InvalidSetting, match="STREAMGAUGE_MAIL_FROM"):
            mail_sender(bad)


def test_ways_that_are_set_up_halfway_are_refused() -> None:
    assert (channels(Settings()).mail, channels(Settings()).store) == (None, None)
    assert isinstance(channels(Settings(report_store="reports")).store, ReportFolder)
    both = channels(Settings(smtp_url="smtp://h", mail_from="a@b.org", report_store="s3://bucket"))
    assert both.mail is not None
    assert both.store is not None
    for bad, name in (
        (Settings(smtp_url="smtp://h"), "STREAMGAUGE_MAIL_FROM"),
        (Settings(mail_from="a@b.org"), "STREAMGAUGE_SMTP_URL"),
        (Settings(report_store="ftp://h/x"), "STREAMGAUGE_REPORT_STORE"),
        (Settings(report_store="s3:///x"), "STREAMGAUGE_REPORT_STORE"),
        (Settings(report_store="s3://a b"), "STREAMGAUGE_REPORT_STORE"),
        (Settings(report_store="s3://b", s3_endpoint="h:9000"), "AWS_ENDPOINT_URL_S3"),
        (Settings(report_store="s3://b", s3_region="eu central"), "AWS_REGION"),
        (Settings(report_store="s3://b", s3_access_key="k"), "AWS_SECRET_ACCESS_KEY"),
    ):
        with pytest.raises(InvalidSetting, match=name):
            channels(bad)
