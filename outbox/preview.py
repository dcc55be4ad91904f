"""What a person sees of a mail's content: text, HTML, attachments. Mail is hostile input: nothing here may raise."""

from __future__ import annotations

from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

import structlog
from django.db.models.functions import Substr

from organization.addresses import same_address_key
from outbox.content import addresses_in, header_values, split_header
from outbox.models import Content, Message

log = structlog.get_logger(__name__)

# Larger mails are shown by their source alone: taking them apart would hold a web process.
PARSED_AT_MOST = 5 * 1024 * 1024
_HEADER_AT_MOST = 256 * 1024
_TEXT_AT_MOST = 200_000


@dataclass(frozen=True)
class Attachment:
    filename: str
    content_type: str
    size: int


@dataclass(frozen=True)
class Preview:
    text: str = ""
    html: str = ""
    attachments: list[Attachment] = field(default_factory=list)


def preview(message: Message) -> Preview:
    """The mail taken apart; an empty preview when it is too large or can't be read."""
    if message.size > PARSED_AT_MOST:
        return Preview()
    try:
        parsed = BytesParser(policy=policy.default).parsebytes(source(message))
        assert isinstance(parsed, EmailMessage)
        return Preview(_text(parsed, "plain"), _text(parsed, "html"), _attachments(parsed))
    except Exception:  # whatever a hostile mail makes the parser do, the page must show the rest
        log.warning("preview_failed", message=message.pk, exc_info=True)
        return Preview()


def has_content(message: Message) -> bool:
    """Whether what the mail says is still there (see pruning)."""
    return Content.objects.filter(message=message).exists()


def source(message: Message) -> bytes:
    """The bytes as the app gave them. Raises Content.DoesNotExist when they were removed."""
    return bytes(Content.objects.get(message=message).data)


def header_names(message: Message) -> dict[str, str]:
    """For each address named in the To or Cc header, which of them; who is in neither was given in the envelope alone.

    Empty when the content was removed.
    """
    start = Content.objects.filter(message=message).values_list(Substr("data", 1, _HEADER_AT_MOST), flat=True).first()
    fields, _ = split_header(bytes(start or b""))
    found: dict[str, str] = {}
    for header, name in (("Cc", b"cc"), ("To", b"to")):
        found |= {same_address_key(person.email): header for person in addresses_in(header_values(fields, name))}
    return found


def _text(parsed: EmailMessage, kind: str) -> str:
    part = parsed.get_body(preferencelist=(kind,))
    if part is None:
        return ""
    text = part.get_content()
    return text[:_TEXT_AT_MOST] if isinstance(text, str) else ""


def _attachments(parsed: EmailMessage) -> list[Attachment]:
    return [
        Attachment(part.get_filename() or "", part.get_content_type(), len(part.get_payload(decode=True) or b""))
        for part in parsed.iter_attachments()
    ]
