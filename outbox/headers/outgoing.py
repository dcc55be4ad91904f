"""The header with which a message leaves for the stage's server. Pure. docs/reference/routing.md is its table.

Servers and mail programs act on what they read in a header. So real mail keeps its fields except those that no recipient may
see. Test mail keeps only fields that are known to be harmless: its readers see the test list and the stage's sender.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from common.addresses import NamedAddress, same_address_key
from emailconfig.models import SmtpSettings
from organization.recipient_policy.policy import OPEN, PolicyState
from outbox.envelope import is_usable_sender
from outbox.headers.fields import address_header, encoded_words, folded, transportable
from outbox.headers.parser import HeaderField, header_values, mailboxes_in, readable
from outbox.headers.received import Hop, header_date

_STRIPPED = frozenset([b"bcc", b"resent-bcc", b"return-path"])
# The fields that test mail keeps; all others are renamed. None of these makes a server or a mail program write to a person.
_HARMLESS = frozenset(
    b"mime-version content-type content-transfer-encoding content-disposition content-id content-description content-language"
    b" content-location content-base content-md5 content-duration subject date message-id in-reply-to references priority"
    b" x-priority x-msmail-priority importance accept-language auto-submitted precedence x-auto-response-suppress x-mailer"
    b" user-agent".split()
)
_SEPARATORS = re.compile(r"""[\s<>()\[\]{},;:"\\]+""")
_RENAMED = b"X-Original-"


@dataclass(frozen=True)
class HeaderContext:
    """What decides the header that a message leaves with, besides its own fields and the stage's settings.

    `test_list`: the people to whom test mail goes, empty when it goes to allowed addresses alone; None when it is real mail.
    `policy`: whom the stage allows. `allowed_recipients`: those of them who get this message. `only_allowed`: the app gave no
    other recipients. `kept_headers`: the fields that the stage's test mail keeps, in lower case. `log_url`: where
    the portal shows the message.
    """

    hop: Hop
    message_id: str
    test_list: Sequence[NamedAddress] | None = None
    kept_headers: frozenset[bytes] = frozenset()
    subject_tag: str = ""
    log_url: str = ""
    policy: PolicyState = OPEN
    allowed_recipients: Sequence[str] = ()
    only_allowed: bool = False

    def may_read(self, address: str) -> bool:
        """Whether test mail may name the address: it is on the list, or allowed in the stage."""
        key = same_address_key(address)
        return any(same_address_key(person.email) == key for person in self.test_list or ()) or self.policy.allows(address)


class OutgoingHeader(NamedTuple):
    """The block with its closing empty line, and the notes for the email log."""

    block: bytes
    notes: list[str]


def outgoing(fields: Sequence[HeaderField], context: HeaderContext, settings: SmtpSettings) -> OutgoingHeader:
    """The header of a message with these `fields`, as the stage's server gets it."""
    fields = [field for field in fields if field.name not in _STRIPPED and not _is_empty_and_needed(field)]
    if context.test_list is None:
        lines, notes = _real_mail(fields, settings)
    else:
        lines, notes = _test_mail(fields, context, settings)
    lines = [context.hop.received_line(), *_missing(fields, context), *map(transportable, lines)]
    return OutgoingHeader(b"".join(lines) + b"\r\n", notes)


def envelope_sender(requested: str, settings: SmtpSettings, *, is_test_mail: bool) -> str:
    """The stage's sender, or the app's own where real mail may carry it.

    The null sender stays null, so that no server answers an answer (RFC 5321 section 4.5.5).
    """
    if not requested or (not is_test_mail and is_usable_sender(requested) and settings.allows_sender(requested)):
        return requested
    return settings.sender_address


def _is_empty_and_needed(field: HeaderField) -> bool:
    """Whether the field is an empty Message-ID or Date, which one of ours replaces."""
    return field.name in (b"message-id", b"date") and not field.value


def _missing(fields: Sequence[HeaderField], context: HeaderContext) -> list[bytes]:
    """The fields that every message needs, where the app gave none."""
    lines = []
    if not header_values(fields, b"message-id"):
        lines.append(folded(b"Message-ID: " + context.message_id.encode()))
    if not header_values(fields, b"date"):
        lines.append(folded(b"Date: " + header_date(context.hop.date).encode()))
    return lines


def _real_mail(fields: Sequence[HeaderField], settings: SmtpSettings) -> tuple[list[bytes], list[str]]:
    """The fields as the app wrote them. A sender that the stage doesn't allow is replaced."""
    original = header_values(fields, b"from")
    if not (problem := _problem("From", original, settings.allows_sender)):
        return _without_foreign_sender(fields, settings)
    lines = [b"From: " + _stage_sender(settings)]
    if mailboxes_in(original).is_whole and not any(header_values(fields, b"reply-to")):
        lines.append(b"Reply-To: " + b", ".join(original))
    # A signature over the From that was replaced proves nothing any more, and counts against the message.
    gone = (b"from", b"sender", b"dkim-signature")
    lines = [*map(folded, lines), *(field.raw for field in fields if field.name not in gone)]
    return lines, [_left_as(problem, settings)]


def _without_foreign_sender(fields: Sequence[HeaderField], settings: SmtpSettings) -> tuple[list[bytes], list[str]]:
    sender = header_values(fields, b"sender")
    problem = _problem("Sender", sender, settings.allows_sender) if sender else ""
    lines = [field.raw for field in fields if not (problem and field.name == b"sender")]
    return lines, [f"{problem}, so that field was left out."] if problem else []


def _test_mail(fields: Sequence[HeaderField], context: HeaderContext, settings: SmtpSettings) -> tuple[list[bytes], list[str]]:
    """What is harmless, and everything else under a name of which nobody makes anything."""
    problem = _problem_in_test_mail(header_values(fields, b"from"), context, settings)
    answers = header_values(fields, b"reply-to")
    staying = {b"from": not problem, b"reply-to": _names_only(answers, context.may_read)}
    if context.only_allowed:
        staying |= {name: _names_only(header_values(fields, name), context.policy.allows) for name in (b"to", b"cc")}

    def stays(field: HeaderField) -> bool:
        if field.name in staying:
            return staying[field.name]
        is_kept = field.name in context.kept_headers and _holds_only(field.value, context.may_read)
        return is_kept or field.name in _HARMLESS

    lines = _marks(context)
    if not staying.get(b"to"):
        lines.insert(0, _recipients_of_test_mail(fields, context))
    if problem:
        lines.append(b"From: " + _stage_sender(settings))
    if any(answers) and not staying[b"reply-to"]:
        lines.append(b"Reply-To: " + _stage_sender(settings))
    if context.subject_tag:
        lines.append(_tagged_subject(fields, context.subject_tag))
        fields = [field for field in fields if field.name != b"subject"]
    rest = (field.raw if stays(field) else _RENAMED + field.raw for field in fields)
    return [*map(folded, lines), *rest], [_left_as(problem, settings)] if problem else []


def _recipients_of_test_mail(fields: Sequence[HeaderField], context: HeaderContext) -> bytes:
    """The To field of test mail: the people on the list.

    Without a list it names the allowed recipients that the app's To or Cc named, and never a Bcc (RFC 5322 section 3.4).
    """
    if context.test_list:
        return b"To: " + address_header(context.test_list)
    named = mailboxes_in([*header_values(fields, b"to"), *header_values(fields, b"cc")]).people
    keys = {same_address_key(mailbox.address) for mailbox in named}
    people = [NamedAddress(address) for address in context.allowed_recipients if same_address_key(address) in keys]
    return b"To: " + (address_header(people) if people else b"undisclosed-recipients:;")


def _marks(context: HeaderContext) -> list[bytes]:
    """The fields that tell testers where the message comes from."""
    hop = context.hop
    lines = [f"X-Email-App: {hop.app_key}", f"X-Email-Stage: {hop.stage_key}"]
    if context.log_url:
        lines.append(f"X-Email-Log: {context.log_url}")
    return [line.encode() for line in lines]


def _tagged_subject(fields: Sequence[HeaderField], tag: str) -> bytes:
    # The encoded tag ends in a space: a space between two encoded words would vanish (RFC 2047 section 6.2).
    mark = encoded_words(f"[{tag}]" if tag.isascii() else f"[{tag}] ")
    return b" ".join([b"Subject:", mark, *header_values(fields, b"subject")[:1]])


def _stage_sender(settings: SmtpSettings) -> bytes:
    return address_header([NamedAddress(settings.sender_address, settings.sender_name)])


def _left_as(problem: str, settings: SmtpSettings) -> str:
    return f"{problem}, so the email left as {settings.sender_address}."


def _problem(name: str, values: Sequence[bytes], may_send: Callable[[str], bool], verb: str = "allows") -> str:
    """Why the app's From or Sender can't stay; empty when it can."""
    mailboxes = mailboxes_in(values)
    if not mailboxes.complete:
        return f"The app's {name} can't be read"
    if not mailboxes.people:
        return f"The app's {name} names no address" if any(values) else f"The app gave no {name}"
    strangers = [person.address for person in mailboxes.people if not may_send(person.address)]
    return f"The app's sender {', '.join(strangers)} isn't in a domain that this stage {verb}" if strangers else ""


def _problem_in_test_mail(values: Sequence[bytes], context: HeaderContext, settings: SmtpSettings) -> str:
    """Why test mail can't keep the app's From; empty when it can.

    In test mail a domain counts only when the stage names it. The sender's name is checked too, because programs show it.
    """
    if context.only_allowed and _names_only(values, context.policy.allows):
        return ""
    if problem := _problem("From", values, settings.names_sender, "names"):
        return problem
    if not _holds_only(b", ".join(values), lambda address: settings.names_sender(address) or context.may_read(address)):
        return "The name in the app's From may contain another person's address"
    return ""


def _names_only(values: Sequence[bytes], may_read: Callable[[str], bool]) -> bool:
    """Whether the field names people, and an answer can reach only people who may read the message."""
    mailboxes = mailboxes_in(values)
    readers = all(may_read(mailbox.address) for mailbox in mailboxes.people)
    return mailboxes.is_whole and readers and _holds_only(b", ".join(values), may_read)


def _holds_only(value: bytes, is_allowed: Callable[[str], bool]) -> bool:
    """Whether each @-sign in the value, as it is and decoded, belongs to an address that is allowed there."""
    raw, decoded = value.decode("utf-8", "replace"), unquote(readable(value))
    if "=?" in decoded:  # another program may decode it
        return False
    words = [word for text in (raw, decoded) for word in _SEPARATORS.split(text) if "@" in word]
    return all(word.count("@") == 1 and is_allowed(word) for word in words)
