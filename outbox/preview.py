"""What a person sees of a mail's content: text, HTML, headers, attachments. Mail is hostile input: nothing here may raise."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

import structlog
from django.db.models.functions import Substr

from organization.addresses import same_address_key
from outbox.content import HeaderField, addresses_in, header_values, readable, split_header
from outbox.models import Content, Message

log = structlog.get_logger(__name__)

# Larger mails are shown by their source alone: taking them apart would hold a web process.
PARSED_AT_MOST = 5 * 1024 * 1024
SHOWN_AT_MOST = 200_000
_HEADER_AT_MOST = 256 * 1024
# A browser connects to the host that one of these names before it asks the policy whether it may. That is enough to tell
# the sender when and where a mail is read. The same goes for a link that is clicked. Tags and attributes are only ever what
# these letters make them. In SVG an animation may give a link its target, whose name can be written in many ways.
_CONNECTS = re.compile(r"<(?=link|i?frame|fencedframe|object|embed|portal|set|animate)", re.IGNORECASE)
_LINKS = re.compile(r"href(?=\s*=)", re.IGNORECASE)
# Paths, line breaks, what turns the direction of a text (“gnp.exe” for “exe.png”), and what file systems refuse.
_UNSAFE_IN_NAME = re.compile(r'[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff/\\:*?"<>|]+')


@dataclass(frozen=True)
class Attachment:
    filename: str
    content_type: str
    size: int

    @property
    def safe_name(self) -> str:
        """To save it under: one that no system takes for a path or for something else than it is."""
        name = _UNSAFE_IN_NAME.sub("_", self.filename).strip(". ")
        start, dot, ending = name.rpartition(".")
        return f"{start[:80]}{dot}{ending[:20]}" if dot else name[:100] or "attachment"


@dataclass(frozen=True)
class Preview:
    text: str = ""
    html: str = ""
    attachments: list[Attachment] = field(default_factory=list)


def preview(message: Message) -> Preview:
    """The mail taken apart; an empty preview when it is too large or can't be read."""
    try:
        parsed = _parsed(message)
        if parsed is None:
            return Preview()
        attachments = [_attachment(part) for part in parsed.iter_attachments()]
        return Preview(_text(parsed, "plain"), _text(parsed, "html"), attachments)
    except Exception:  # whatever a hostile mail makes the parser do, the page must show the rest
        log.warning("preview_failed", message=message.pk, exc_info=True)
        return Preview()


def attachment_data(message: Message, number: int) -> bytes | None:
    """The bytes of the attachment with that number in `preview().attachments`; None when there is none."""
    try:
        parsed = _parsed(message)
        parts = [] if parsed is None else list(parsed.iter_attachments())
        return _data(parts[number]) if number < len(parts) else None
    except Exception:
        log.warning("attachment_failed", message=message.pk, exc_info=True)
        return None


def harmless_html(html: str) -> str:
    """The HTML for the sandboxed frame, without what its policy can't keep off the network."""
    return _LINKS.sub("x-href", _CONNECTS.sub("<x-", html))


def has_content(message: Message) -> bool:
    """Whether what the mail says is still there (see pruning)."""
    return Content.objects.filter(message=message).exists()


def source(message: Message) -> bytes:
    """The bytes as the app gave them. Raises Content.DoesNotExist when they were removed."""
    return bytes(Content.objects.get(message=message).data)


def source_start(message: Message) -> str:
    """As much of the source as a page shows."""
    return _start(message, SHOWN_AT_MOST).decode("utf-8", "replace").replace("\r\n", "\n")


def header_fields(message: Message) -> list[tuple[str, str]]:
    """The header's fields in their order: name as written, value as a person reads it."""
    return [
        (field.raw.partition(b":")[0].decode("ascii", "replace").strip(), readable(field.value)) for field in _fields(message)
    ]


def header_names(message: Message) -> dict[str, str]:
    """For each address named in the To or Cc header, which of them; who is in neither was given in the envelope alone.

    Empty when the content was removed.
    """
    fields = _fields(message)
    found: dict[str, str] = {}
    for header, name in (("Cc", b"cc"), ("To", b"to")):
        found |= {same_address_key(person.email): header for person in addresses_in(header_values(fields, name))}
    return found


def _fields(message: Message) -> list[HeaderField]:
    return split_header(_start(message, _HEADER_AT_MOST))[0]


def _start(message: Message, length: int) -> bytes:
    """The first bytes of the content; none when it was removed."""
    start = Content.objects.filter(message=message).values_list(Substr("data", 1, length), flat=True).first()
    return bytes(start or b"")


def _parsed(message: Message) -> EmailMessage | None:
    if message.size > PARSED_AT_MOST:
        return None
    parsed = BytesParser(policy=policy.default).parsebytes(source(message))
    assert isinstance(parsed, EmailMessage)
    return parsed


def _text(parsed: EmailMessage, kind: str) -> str:
    part = parsed.get_body(preferencelist=(kind,))
    if part is None:
        return ""
    text = part.get_content()
    return text[:SHOWN_AT_MOST] if isinstance(text, str) else ""


def _attachment(part: EmailMessage) -> Attachment:
    return Attachment(part.get_filename() or "", part.get_content_type(), len(_data(part)))


def _data(part: EmailMessage) -> bytes:
    """What the attachment holds; a mail inside the mail as its source."""
    data = part.get_payload(decode=True)
    if isinstance(data, bytes):
        return data
    return b"".join(inner.as_bytes() for inner in part.iter_parts()) if part.is_multipart() else b""
