"""The words for why an email failed or was put off."""

from __future__ import annotations

import pytest

from analytics.causes import cause_of, explanation_of


@pytest.mark.parametrize(
    ("step", "code", "reply", "cause"),
    [
        ("RCPT TO", 550, "550 5.1.1 unknown", "recipient_unknown"),
        ("content", None, "The connection broke before the server answered.", "hand_over_broke"),
        ("MAIL FROM", None, "5.6.7 The server doesn't support addresses outside ASCII", "smtputf8_missing"),
        ("", None, "The worker stopped while it sent the email.", "worker_stopped"),
        ("content", 554, "554 spam", "content_refused"),
    ],
)
def test_every_cause_has_words(step, code, reply, cause):
    assert cause_of(step, code, reply) == cause
    explanation = explanation_of(cause)
    assert explanation.cause.endswith(".")
    assert explanation.next_step


def test_an_unknown_cause_is_shown_as_its_code():
    assert explanation_of("sun_spots").cause == "sun_spots"
