"""The exception for a message that is not accepted."""

from __future__ import annotations

import smtplib

from common.exceptions import PortalError


class SubmissionRefused(PortalError, smtplib.SMTPException):
    """The message was not accepted and nothing was stored. `reply` is the SMTP answer: code, enhanced code, text.

    Callers of Django's mail API expect an SMTPException.
    """

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.code, self.enhanced, self.text = code, enhanced, text

    @property
    def reply(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"
