"""The content of a message as a person sees it: text, HTML, headers, attachments.

An email is hostile input, so nothing here may raise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple

import structlog
from django.db.models.functions import Substr
from django.template.defaultfilters import filesizeformat

from common.addresses import same_address_key
from emaillog.html_body import PICTURES_AT_MOST, remote_hosts, with_pictures
from emaillog.invitations import Invitation, read_invitations
from emaillog.mime_parts import DEPTH_AT_MOST, Part, parts_of
from outbox.headers.parser import HeaderField, addresses_in, header_values, readable, split_header
from outbox.models import Content, Message

log = structlog.get_logger(__name__)

# Parsing more would block a web process.
PARSED_AT_MOST = 25 * 1024 * 1024
PARTS_AT_MOST = 250
SHOWN_AT_MOST = 200_000
INVITATIONS_AT_MOST = 10
_CALENDAR_TYPES = ("text/calendar", "application/ics")
_HEADER_AT_MOST = 256 * 1024
# A browser connects to the host that one of these names before it checks the policy. That tells the sender when and where
# the email is read. A clicked link does so too. A tag or attribute can't be written with letters other than these. In SVG
# an animation may set the target of a link, and there are many ways to write the attribute's name.
_CONNECTS = re.compile(r"<(?=link|i?frame|fencedframe|object|embed|portal|set|animate)", re.IGNORECASE)
_LINKS = re.compile(r"href(?=\s*=)", re.IGNORECASE)
# Paths, line breaks, characters that reverse the direction of text (“gnp.exe” for “exe.png”), and what file systems refuse.
_UNSAFE_IN_NAME = re.compile(r'[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff/\\:*?"<>|]+')


@dataclass(frozen=True)
class Attachment:
    filename: str
    content_type: str
    size: int

    @property
    def safe_name(self) -> str:
        """The name to save it under. No system takes it for a path or for another type of file."""
        name = _UNSAFE_IN_NAME.sub("_", self.filename).strip(". ")
        start, dot, ending = name.rpartition(".")
        return f"{start[:80]}{dot}{ending[:20]}" if dot else name[:100] or "attachment"


@dataclass(frozen=True)
class Preview:
    """The parts of a message that are shown. `html` is ready for the frame. `limits` says in words where reading stopped."""

    text: str = ""
    html: str = ""
    remote_hosts: list[tuple[str, int]] = field(default_factory=list)
    invitations: list[Invitation] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)

    @property
    def remote_files(self) -> int:
        return sum(number for _, number in self.remote_hosts)


def preview(message: Message) -> Preview:
    """Parse the message."""
    try:
        return _preview(_Parts(message))
    except Exception:  # a hostile email may cause any error, and the page must still show the rest
        log.warning("preview_failed", message=message.pk, exc_info=True)
        return Preview(limits=["This email can't be parsed. Only its source can be shown."])


def read_attachment(message: Message, number: int) -> tuple[Attachment, bytes] | None:
    """Return the attachment with that number in `preview().attachments` and its bytes, or None if there is none."""
    try:
        parts = _Parts(message).attachments
        return (_attachment(parts[number]), parts[number].data()) if number < len(parts) else None
    except Exception:
        log.warning("attachment_failed", message=message.pk, exc_info=True)
        return None


class _Parts:
    """The parts of a message that are read, and why there aren't more."""

    def __init__(self, message: Message) -> None:
        content = _start(message, PARSED_AT_MOST)
        parts = list(islice(parts_of(content), PARTS_AT_MOST + 1))
        is_cut = message.size > len(content)
        self.all = parts[:PARTS_AT_MOST]
        # Parts that aren't text are listed, and so is text that has a file name. A part that is cut off is no longer a file.
        self.attachments = [
            part for part in self.all if (not _is_body(part) or part.filename) and not (is_cut and part.end == len(content))
        ]
        self.limits = []
        if is_cut:
            self.limits.append(f"Only the first {filesizeformat(PARSED_AT_MOST)} of this email are read.")
        if len(parts) > PARTS_AT_MOST:
            self.limits.append(f"Only the first {PARTS_AT_MOST} parts of this email are shown.")
        if any(part.content_type.startswith("multipart/") for part in self.all):
            self.limits.append(f"Parts that are nested deeper than {DEPTH_AT_MOST} levels are only listed as attachments.")


def _preview(parts: _Parts) -> Preview:
    text, html = _texts(parts.all, "text/plain"), _texts(parts.all, "text/html")
    calendars = _texts(parts.all, *_CALENDAR_TYPES)
    own_html = "\n".join(html.texts)
    page, has_all_pictures = with_pictures(harmless_html(own_html), parts.all)
    events = list(islice(_events(calendars.texts), INVITATIONS_AT_MOST + 1))
    limits = [*parts.limits]
    if not (text.is_whole and html.is_whole and calendars.is_whole):
        limits.append(f"Only the first {SHOWN_AT_MOST:,} characters of its text are shown.")
    if not has_all_pictures:
        limits.append(f"Only {filesizeformat(PICTURES_AT_MOST)} of its pictures are shown.")
    if len(events) > INVITATIONS_AT_MOST:
        limits.append(f"Only the first {INVITATIONS_AT_MOST} events are shown.")
    return Preview(
        text="\n".join(text.texts),
        html=page,
        remote_hosts=remote_hosts(own_html),
        invitations=events[:INVITATIONS_AT_MOST],
        attachments=[_attachment(part) for part in parts.attachments],
        limits=limits,
    )


def harmless_html(html: str) -> str:
    """Return the HTML for the sandboxed frame, without what its policy can't keep from using the network."""
    return _LINKS.sub("x-href", _CONNECTS.sub("<x-", html))


def has_content(message: Message) -> bool:
    """Return whether the content may be shown, and is still stored (see retention)."""
    return not message.is_own and Content.objects.filter(message=message).exists()


def source(message: Message) -> bytes:
    """Return the bytes as the app gave them. Raises Content.DoesNotExist if they were removed."""
    return bytes(Content.objects.get(message=message).data)


def source_start(message: Message) -> str:
    """Return the part of the source that a page shows."""
    return _start(message, SHOWN_AT_MOST).decode("utf-8", "replace").replace("\r\n", "\n")


def header_fields(message: Message) -> list[tuple[str, str]]:
    """Return the header's fields in their order. The name is as written, the value as a person reads it."""
    return [
        (field.raw.partition(b":")[0].decode("ascii", "replace").strip(), readable(field.value)) for field in _fields(message)
    ]


def header_names(message: Message) -> dict[str, str]:
    """Return “To” or “Cc” for each address that one of these headers names.

    An address in neither header was only in the envelope. The result is empty if the content was removed.
    """
    fields = _fields(message)
    names: dict[str, str] = {}
    for header, name in (("Cc", b"cc"), ("To", b"to")):
        names |= {same_address_key(person.email): header for person in addresses_in(header_values(fields, name))}
    return names


def _fields(message: Message) -> list[HeaderField]:
    return split_header(_start(message, _HEADER_AT_MOST))[0]


def _start(message: Message, length: int) -> bytes:
    """Return the first bytes of the content, or no bytes if it was removed or is never shown."""
    if message.is_own:
        return b""
    start = Content.objects.filter(message=message).values_list(Substr("data", 1, length), flat=True).first()
    return bytes(start or b"")


def _is_body(part: Part) -> bool:
    return part.content_type in ("text/plain", "text/html") and part.disposition != "attachment"


class _Texts(NamedTuple):
    texts: list[str]
    is_whole: bool


def _texts(parts: list[Part], *content_types: str) -> _Texts:
    """Return the text of the parts with these types, up to SHOWN_AT_MOST in all. An attached text isn't part of the body."""
    texts, left, is_whole = [], SHOWN_AT_MOST, True
    for part in parts:
        if part.content_type in content_types and (_is_body(part) or part.content_type in _CALENDAR_TYPES) and is_whole:
            text, is_whole = part.text(left)
            texts += [text] if text.strip() else []
            left -= len(text)
    return _Texts(texts, is_whole)


def _events(calendars: list[str]) -> Iterator[Invitation]:
    """Yield each event once. Many programs send an invitation both as a part and as a file."""
    known = set()
    for invitation in chain.from_iterable(map(read_invitations, calendars)):
        if invitation not in known:
            known.add(invitation)
            yield invitation


def _attachment(part: Part) -> Attachment:
    return Attachment(part.filename, part.content_type, len(part.data()))
