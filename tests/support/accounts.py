"""The portal's own emails in tests, the links in them, and what the log says."""

from __future__ import annotations

import logging
import re
from email import message_from_bytes, policy

import pytest
from django.conf import settings

from organization.models import Member
from outbox.models import Content, Message, Source

NEW_PASSWORD = "another-long-phrase"
CHOSEN = {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}


def own_messages(member: Member) -> list[Message]:
    """What the portal wrote to the member, oldest first."""
    messages = Message.objects.filter(via=Source.OWN).order_by("pk")
    return [message for message in messages if message.requested == [member.email]]


def text_of(message: Message) -> str:
    """Its text, as long as the content is stored."""
    mail = message_from_bytes(bytes(Content.objects.get(message=message).data), policy=policy.default)
    return str(mail.get_content())


def path_in(text: str) -> str:
    """The path of the only link to choose a password in a text."""
    (path,) = re.findall(rf"{re.escape(settings.PORTAL_URL)}(/accounts/(?:invitation|password-reset)/[\w-]+/)", text)
    return str(path)


def emailed_path(member: Member) -> str:
    """The path of the link in the newest email to the member."""
    return path_in(text_of(own_messages(member)[-1]))


def log_lines(caplog: pytest.LogCaptureFixture) -> str:
    """As the processes write them."""
    (console,) = [handler for handler in logging.getLogger().handlers if type(handler) is logging.StreamHandler]
    return "\n".join(console.format(record) for record in caplog.records)
