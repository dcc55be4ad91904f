"""What a test knows of the header of test mail, written down once more: nothing here is asked of the code under test."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.header import decode_header
from email.message import Message

FREE = {
    *("mime-version", "subject", "date", "message-id", "in-reply-to", "references", "priority", "x-priority", "importance"),
    *("x-msmail-priority", "accept-language", "auto-submitted", "precedence", "x-auto-response-suppress", "x-mailer"),
    "user-agent",
    *(f"content-{part}" for part in ("type", "transfer-encoding", "disposition", "id", "description", "language", "location")),
    *(f"content-{part}" for part in ("base", "md5", "duration")),
}  # fmt: skip
OURS = {"received", "to", "from", "reply-to", "x-email-app", "x-email-stage", "x-email-log"}
_ADDRESS = re.compile(r"[^\s<>\"(),;:]*@[^\s<>\"(),;:]*")


def strays(mail: Message, people: Iterable[str], sender: str, kept: Iterable[str] = ()) -> list[str]:
    """What leaves with test mail and must not: fields that nobody allowed, and addresses beyond the list and the sender."""
    wrong = []
    allowed = {address.lower() for address in (*people, sender)}
    for name, value in mail.items():
        field = name.strip().lower()
        if field.startswith("x-original-") or field in FREE:
            continue
        if field not in OURS and field not in kept:
            wrong.append(f"{name} is no field of test mail")
        wrong += [f"{name} names {address}" for address in addresses(str(value)) if address.lower() not in allowed]
    return wrong


def addresses(value: str) -> set[str]:
    """Whatever looks like an address in a header's value, as it is and decoded."""
    decoded = "".join(
        part.decode(charset or "ascii", "replace") if isinstance(part, bytes) else part for part, charset in decode_header(value)
    )
    return {address for text in (value, decoded) for address in _ADDRESS.findall(text)}
