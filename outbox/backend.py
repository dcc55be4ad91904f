"""Django's mail API: `EMAIL_BACKEND = "outbox.backend.EmailBackend"` submits each message to the outbox.

It is for the portal's own process and tests. The app and stage come from OUTBOX_APP and OUTBOX_STAGE. Inside a caller's
transaction the message is part of it, and is accepted when the transaction commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from email._policybase import Compat32
from email.policy import compat32
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from common import sql
from common.addresses import is_printable, read_named_address
from organization import statements
from organization.statements import Place
from outbox.models import Source
from outbox.submission import Envelope, accept
from outbox.values import Submission


class EmailBackend(BaseEmailBackend):
    """An email backend that submits to the outbox. The options `app` and `stage` (keys) replace the settings.

    Unless `fail_silently`, it raises ValueError when a recipient isn't exactly one address, as Django's own backends do, and
    SubmissionRefused, which is an smtplib.SMTPException. Then nothing of that message was stored.
    """

    def __init__(
        self, fail_silently: bool = False, alias: str | None = None, app: str = "", stage: str = "", **options: Any
    ) -> None:
        super().__init__(fail_silently=fail_silently)
        self.app_key = app or settings.OUTBOX_APP
        self.stage_key = stage or settings.OUTBOX_STAGE

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Submit each message, and return how many were accepted. As in Django, messages without recipients are skipped."""
        accepted = 0
        for message in email_messages or []:
            if not message.recipients():
                continue
            try:
                self._submit(message)
            except Exception:
                if not self.fail_silently:
                    raise
            else:
                accepted += 1
        return accepted

    def _submit(self, message: EmailMessage) -> None:
        place = _place(self.app_key, self.stage_key)
        sender = message.from_email or settings.DEFAULT_FROM_EMAIL
        envelope = Envelope(_sender(str(sender)), [_recipient(str(recipient)) for recipient in message.recipients()])
        accept(Submission(place.app, place.stage, envelope, content_of(message), Source.BACKEND))


@lru_cache(maxsize=100)
def _place(app_key: str, stage_key: str) -> Place:
    """The app and the stage with these keys, which never change. accept() reads what else may change of them."""
    places = sql.fetch(statements.APP_AND_STAGE, app_key, stage_key)
    if not places:
        raise ImproperlyConfigured(
            f"OUTBOX_APP and OUTBOX_STAGE must name an app and a stage; they are “{app_key}” and “{stage_key}”."
        )
    return places[0]


# A line of 78 characters at most (RFC 5322 section 2.1.1), without the colon and the space.
_SHORT = 75


class _ShortFieldsAsTheyAre(Compat32):
    """Writes a field that needs neither folding nor encoding as it is. Python takes half of a message's time to see that."""

    def fold_binary(self, name: str, value: Any) -> bytes:
        is_text = isinstance(value, str) and value.isascii() and value.isprintable() and value == value.strip()
        if is_text and len(name) + len(value) < _SHORT:
            return f"{name}: {value}{self.linesep}".encode()
        return super().fold_binary(name, value)


_FAST_POLICY = _ShortFieldsAsTheyAre()


def content_of(message: EmailMessage) -> bytes:
    """The message as it is stored.

    Django's own Message-ID ends in this machine's name. So a Message-ID that the caller didn't set is removed, and set when
    the message is sent.
    """
    content = message.message()
    if "message-id" not in map(str.lower, message.extra_headers):
        del content["Message-ID"]
    if content.policy is compat32:  # Django 6 has another one
        content.policy = _FAST_POLICY
    return content.as_bytes()


def _recipient(text: str) -> str:
    """`ana@example.com` out of `Ana <ana@example.com>`.

    It doesn't use email.utils.parseaddr, which accepts rubbish as an address and drops the second of two.
    """
    try:
        return read_named_address(text).email
    except ValidationError as error:
        raise ValueError(error.messages[0]) from error


def _sender(text: str) -> str:
    """As _recipient(), but a name without a domain, such as `root`, is left to accept(), which uses the stage's sender."""
    return text.strip() if "@" not in text and is_printable(text) else _recipient(text)
