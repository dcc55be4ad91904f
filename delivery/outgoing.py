"""The bytes of a claimed message as they leave with a stage's settings. A large message is read from the database in pieces."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import InterfaceError, OperationalError, connection

from common import sql
from delivery import statements
from delivery.long_lines import with_short_lines
from delivery.smtp_dialogue import Transmission
from delivery.values import HandOver
from emailconfig.models import SmtpSettings
from organization.installation import installation_id, portal_host, portal_url
from outbox.headers.outgoing import Departure, envelope_sender, outgoing
from outbox.headers.parser import split_header
from outbox.headers.received import Hop

_PIECE_BYTES = 1024 * 1024
_SHORTENED = "The server refused lines of more than 998 bytes, so the email's long parts left re-encoded."


def prepare(taken: HandOver, settings: SmtpSettings) -> tuple[Transmission, list[str]]:
    """The mail as it goes over the wire with these settings, and notes for the log on what was changed in it."""
    start = with_short_lines(whole(taken)) if taken.short_lines else _start_of(taken)
    fields, body = split_header(start)
    header, notes = outgoing(fields, _departure(taken), settings)
    rest = 0 if taken.short_lines else taken.size - len(start)
    transmission = Transmission(
        envelope_sender(taken.envelope_sender, settings, is_test_mail=taken.test_people is not None),
        taken.recipients,
        _parts(header, body, taken.pk, len(start), taken.size) if rest else (header, body),
        size=len(header) + len(body) + rest,
        eight_bit=rest > 0 or not (header.isascii() and body.isascii()),
        utf8_header=not header.isascii(),
    )
    return transmission, [*notes, _SHORTENED] if taken.short_lines else notes


def whole(taken: HandOver) -> bytes:
    """All of the message as its app gave it."""
    if taken.content is not None:
        return taken.content
    return b"".join(_piece(taken.pk, offset) for offset in range(0, taken.size, _PIECE_BYTES))


def _departure(taken: HandOver) -> Departure:
    """What decides the header, beside the settings."""
    hop = Hop(taken.app_key, taken.stage_key, taken.via, installation_id(), portal_host(), taken.pk, taken.created)
    return Departure(
        hop,
        taken.message_id,
        test_list=taken.test_people,
        kept_headers=taken.kept_headers,
        subject_tag=taken.subject_tag,
        log_url="" if taken.test_people is None else portal_url("email-log-message", taken.stage_key, taken.pk),
        allowed=taken.allowed,
        allowed_recipients=[recipient.address for recipient in taken.recipients if recipient.rule == "allowed"],
        only_allowed=taken.only_allowed,
    )


def _start_of(taken: HandOver) -> bytes:
    """All of a small mail; of a large one as much as holds the whole header."""
    if taken.content is not None:
        return taken.content
    start = b""
    while len(start) < taken.size and b"\r\n\r\n" not in start:
        start += _piece(taken.pk, len(start))
    return start


def _parts(header: bytes, body: bytes, message_id: int, read: int, size: int) -> Iterator[bytes]:
    """A large mail for the wire, with never more than a piece of it in memory."""
    yield header
    yield body
    for offset in range(read, size, _PIECE_BYTES):
        yield _piece(message_id, offset)


def _piece(message_id: int, offset: int) -> bytes:
    try:
        pieces = sql.fetch(statements.CONTENT_PIECE, offset + 1, _PIECE_BYTES, message_id)
    except (OperationalError, InterfaceError):  # the database was restarted since this thread last asked it
        connection.close()
        pieces = sql.fetch(statements.CONTENT_PIECE, offset + 1, _PIECE_BYTES, message_id)
    return pieces[0]
