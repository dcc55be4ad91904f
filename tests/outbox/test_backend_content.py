"""What the Django backend stores of a message, without a database."""

from __future__ import annotations

from django.core.mail import EmailMessage
from hypothesis import given
from hypothesis import strategies as st

from outbox.backend import content_of

_HEADER_TEXT = st.text(st.characters(max_codepoint=0x2FF, exclude_characters="\r\n"), max_size=120) | st.sampled_from(
    ["", " ", "a" * 68, "a" * 69, "word " * 13 + "word", "word " * 14 + "word", "=?utf-8?q?x?=", "a  b", "tab\there", "dot."]
)


@given(_HEADER_TEXT, _HEADER_TEXT)
def test_every_field_is_written_as_django_writes_it(subject, reference):
    headers = {"Message-ID": "<1@acme.example>", "Date": "now", "X-Reference": reference}
    email = EmailMessage(subject, "Text", "crm@acme.example", ["ana@example.com"], headers=headers)
    assert content_of(email) == email.message().as_bytes()
