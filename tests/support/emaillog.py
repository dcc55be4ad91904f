"""Short ways to query the email log in tests."""

from __future__ import annotations

from django.urls import reverse

from outbox.models import Message
from tests.support.outbox import in_state, send


def url(message: Message, page: str = "") -> str:
    return reverse(f"email-log-{page or 'message'}", args=[message.stage.key, message.pk])


def log(client, **query):
    return client.get("/monitor/email-log/qa/", query)


def subjects(response) -> list[str]:
    return [message.subject for message, *_ in response.context["rows"]]


def named(crm, qa, subject, *to, **fields):
    content = f"From: crm@acme.example\r\nTo: {', '.join(to) or 'c@example.com'}\r\nSubject: {subject}\r\n\r\nText\r\n"
    message = send(crm, qa, *to, content=content.encode())
    if fields:
        state = in_state(fields["status"]) if "status" in fields else {}
        Message.objects.filter(pk=message.pk).update(**{**state, **fields})
    return message
