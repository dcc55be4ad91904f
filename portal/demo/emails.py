"""The texts and recipients of the emails in the demo's week. Plain values, without a database."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime

from outbox.envelope import Envelope

_FROM = {"crm": "Customer Relations", "shop": "Acme Web Shop", "hr": "Acme People"}
_SUBJECTS = {
    "crm": (
        "Your offer {number}",
        "Welcome to Acme",
        "Meeting on Thursday confirmed",
        "Reset your password",
        "News from Acme: what is new this autumn",
    ),
    "shop": (
        "Order {number} confirmed",
        "Order {number} has shipped",
        "Invoice {number}",
        "Your return {number} has arrived",
        "Order {number} is ready for collection",
    ),
    "hr": ("Leave request approved", "Your pay slip is ready", "New leave request from a colleague", "Welcome on board"),
}
# Recipients whose emails fail, wait or bounce in a way of their own (see demo_week).
MOVED_AWAY, MAILBOX_FULL = "jon.berg@example.net", "t.okafor@example.org"
GREYLISTED, UNREACHABLE = "reception@greylist.example", "office@partner.example"
_SPECIAL = (MOVED_AWAY, MAILBOX_FULL, GREYLISTED, UNREACHABLE)
_CUSTOMERS = (
    "maria.costa@example.com",
    "liam.murphy@example.com",
    "sofia.rossi@example.com",
    "noah.weber@example.net",
    "emma.dubois@example.net",
    "yuki.tanaka@example.org",
    "olivia.smith@example.com",
    "lucas.silva@example.org",
    "anna.nowak@example.net",
    "peter.jansen@example.com",
    "ines.alves@example.com",
    "david.cohen@example.org",
    "mia.larsen@example.net",
    "omar.haddad@example.com",
    "chloe.martin@example.org",
    "billing@example.com",
    "orders@example.net",
)
_COLLEAGUES = ("ana.silva@acme.example", "ben.meyer@acme.example", "eva.horak@acme.example", "tom.price@acme.example")

_CONTENT = """Date: {date}\r
From: {sender_name} <{sender}>\r
To: {to}\r
Subject: {subject}\r
MIME-Version: 1.0\r
Content-Type: text/html; charset=utf-8\r
\r
<h1 style="color:#5058e9">{subject}</h1>\r
<p>Dear {name},</p>\r
<p>{subject}. You find the details in your account.</p>\r
<p>Kind regards,<br>{sender_name}</p>\r
"""


def write_email(app: str, recipients: Sequence[str], created: datetime, chance: random.Random) -> tuple[Envelope, bytes]:
    """Return an email that this app could have sent at this time."""
    sender = f"{app}@acme.example"
    content = _CONTENT.format(
        date=format_datetime(created),
        sender=sender,
        sender_name=_FROM[app],
        to=", ".join(recipients),
        subject=chance.choice(_SUBJECTS[app]).format(number=chance.randrange(10_000, 99_999)),
        name=recipients[0].partition("@")[0].partition(".")[0].capitalize(),
    )
    return Envelope(sender, recipients), content.encode()


def choose_recipients(app: str, chance: random.Random) -> Sequence[str]:
    """Return the recipients of an email, mostly one. One email in 25 goes to one of the special recipients."""
    if app == "hr":
        return (chance.choice(_COLLEAGUES),)
    if chance.random() < 0.04:
        return (chance.choice(_SPECIAL),)
    return tuple(chance.sample(_CUSTOMERS, 2 if chance.random() < 0.1 else 1))
