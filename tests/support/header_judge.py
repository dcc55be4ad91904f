"""The rules for the header of test mail, written a second time, without the code under test."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
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


def strays(mail: Message, people: Iterable[str], sender: str, kept: Iterable[str] = (), allowed: Iterable[str] = ()) -> list[str]:
    """What must not leave with test mail and does.

    That is fields that nobody allowed, and addresses beyond the list, the sender and what the stage allows (`allowed`, addresses
    and domains). The app's Cc may stay where it names nobody but allowed addresses. `kept` are fields' names in lower case.
    """
    wrong = []
    known, patterns = {address.lower() for address in (*people, sender)}, set(allowed)
    for name, value in mail.items():
        field, named = name.strip().lower(), addresses(str(value))
        if field.startswith("x-original-") or field in FREE:
            continue
        stays_for_allowed = field == "cc" and named and all(is_allowed(address, patterns) for address in named)
        if field not in OURS and field not in kept and not stays_for_allowed:
            wrong.append(f"{name} is no field of test mail")
        strangers = (address for address in named if address.lower() not in known and not is_allowed(address, patterns))
        wrong += [f"{name} names {address}" for address in strangers]
    return wrong


def is_allowed(address: str, patterns: Collection[str]) -> bool:
    """Whether the address, or its whole domain, is among a stage's allowed ones."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain.lower()}" in patterns or domain.lower() in patterns


def addresses(value: str) -> set[str]:
    """All that looks like an address in a header's value, raw or decoded."""
    decoded = "".join(
        part.decode(charset or "ascii", "replace") if isinstance(part, bytes) else part for part, charset in decode_header(value)
    )
    return {address for text in (value, decoded) for address in _ADDRESS.findall(text)}
