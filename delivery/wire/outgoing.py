"""The bytes of a claimed message as they leave with a stage's settings.

A large message is read from the database in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db import InterfaceError, OperationalError, connection

from common import sql
from delivery import statements
from delivery.values import ClaimedMessage
from delivery.wire.long_lines import with_short_lines
from delivery.wire.smtp_dialogue import OutgoingMessage
from emailconfig.models import SmtpSettings
from organization.installation import installation_id, portal_host, portal_url
from outbox.headers.outgoing import HeaderContext, envelope_sender, outgoing
from outbox.headers.parser import split_header
from outbox.headers.received import Hop

_PIECE_BYTES = 1024 * 1024
_SHORTENED = "The server refused lines of more than 998 bytes, so the email's long parts left re-encoded."


def prepare(message: ClaimedMessage, settings: SmtpSettings) -> tuple[OutgoingMessage, list[str]]:
    """The message as it goes over the wire with these settings, and notes for the email log on what was changed in it."""
    start = with_short_lines(whole(message)) if message.short_lines else _start_of(message)
    fields, body = split_header(start)
    header, notes = outgoing(fields, _header_context(message), settings)
    rest = 0 if message.short_lines else message.size - len(start)
    outgoing_message = OutgoingMessage(
        envelope_sender(message.envelope_sender, settings, is_test_mail=message.test_people is not None),
        message.recipients,
        _parts(header, body, message.pk, len(start), message.size) if rest else (header, body),
        size=len(header) + len(body) + rest,
        eight_bit=rest > 0 or not (header.isascii() and body.isascii()),
        utf8_header=not header.isascii(),
    )
    return outgoing_message, [*notes, _SHORTENED] if message.short_lines else notes


def whole(message: ClaimedMessage) -> bytes:
    """The whole message as its app gave it."""
    if message.content is not None:
        return message.content
    return b"".join(_piece(message.pk, offset) for offset in range(0, message.size, _PIECE_BYTES))


def _header_context(message: ClaimedMessage) -> HeaderContext:
    """What decides the header besides the settings."""
    hop = Hop(message.app_key, message.stage_key, message.via, installation_id(), portal_host(), message.pk, message.created)
    return HeaderContext(
        hop,
        message.message_id,
        test_list=message.test_people,
        kept_headers=message.kept_headers,
        subject_tag=message.subject_tag,
        log_url="" if message.test_people is None else portal_url("email-log-message", message.stage_key, message.pk),
        policy=message.policy,
        allowed_recipients=[recipient.address for recipient in message.recipients if recipient.rule == "allowed"],
        only_allowed=message.only_allowed,
    )


def _start_of(message: ClaimedMessage) -> bytes:
    """The start of the message: all of a small one, and as much of a large one as holds the whole header."""
    if message.content is not None:
        return message.content
    start = b""
    while len(start) < message.size and b"\r\n\r\n" not in start:
        start += _piece(message.pk, len(start))
    return start


def _parts(header: bytes, body: bytes, message_id: int, read: int, size: int) -> Iterator[bytes]:
    """A large message for the wire, with never more than one piece of it in memory."""
    yield header
    yield body
    for offset in range(read, size, _PIECE_BYTES):
        yield _piece(message_id, offset)


def _piece(message_id: int, offset: int) -> bytes:
    try:
        pieces = sql.fetch(statements.CONTENT_PIECE, offset + 1, _PIECE_BYTES, message_id)
    except (OperationalError, InterfaceError):  # the database was restarted after this thread's last query
        connection.close()
        pieces = sql.fetch(statements.CONTENT_PIECE, offset + 1, _PIECE_BYTES, message_id)
    return pieces[0]
