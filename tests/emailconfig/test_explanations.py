"""Each fault of a connection has an explanation, and each reply of a server leads to one."""

from __future__ import annotations

import pytest

from emailconfig.connection import explanations
from emailconfig.connection.explanations import EXPLANATIONS, meaning_of
from tests.support.servers.faulty_servers import FAULTS
from tools.problems_page import PAGE, table

# What SMTP doesn't bring about: tokens, keys, the network (above), and what only a mail's content meets.
ELSEWHERE = {
    *(code for code in EXPLANATIONS if code.startswith("token_") and code != "token_not_accepted"),
    *("name_not_usable", "name_not_found", "name_servers_silent", "address_refused"),
    *("connection_refused", "connect_timeout", "unreachable", "ipv6_unreachable", "connection_failed"),
    *("secret_unreadable", "certificate_not_verified", "mail_too_large", "content_refused"),
    "no_8bitmime",
    "own_gateway",  # tests/scenarios/test_loops.py
    *("secret_unreadable", "certificate_not_verified", "mail_too_large", "content_refused", "puts_everybody_off"),
}


def test_there_is_a_fault_for_each_explanation() -> None:
    assert set(EXPLANATIONS) - {fault.code for fault in FAULTS.values()} == ELSEWHERE


@pytest.mark.parametrize("code", EXPLANATIONS)
def test_each_explanation_has_a_cause_and_a_next_step(code: str) -> None:
    explanation = EXPLANATIONS[code]
    assert explanation.cause.endswith((".", "?"))
    assert explanation.next_step.endswith((".", "?"))
    assert len(code) <= 40  # as many as StageBackoff.code holds
    assert code.isidentifier()


def test_no_two_explanations_are_the_same() -> None:
    assert len({explanation.cause for explanation in EXPLANATIONS.values()}) == len(EXPLANATIONS)


def test_each_sign_leads_to_an_explanation() -> None:
    assert {sign.code for sign in explanations._SIGNS} <= set(EXPLANATIONS)


@pytest.mark.parametrize(
    ("step", "reply", "code"),
    [
        # Microsoft 365
        ("MAIL FROM", "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/…", "too_many_connections"),
        ("content", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", "too_many_connections"),
        ("content", "554 5.2.252 SendAsDenied; a@acme.example not allowed to send as b@acme.example", "sender_not_owned"),
        ("MAIL FROM", "451 5.7.3 STARTTLS is required to send mail", "encryption_required"),
        ("RCPT TO", "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", "relay_denied"),
        ("RCPT TO", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found by SMTP address lookup", "recipient_unknown"),
        # Google
        ("MAIL FROM", "530 5.7.0 Authentication Required. https://support.google.com/… - gsmtp", "sign_in_required"),
        ("AUTH", "534 5.7.14 Please log in via your web browser - gsmtp", "google_auth_refused"),
        ("content", "552 5.3.4 Your message exceeded Google's message size limits - gsmtp", "mail_too_large"),
        ("content", "550 5.7.26 This mail is unauthenticated: SPF and DKIM did not pass - gsmtp", "content_refused"),
        # Amazon SES
        ("greeting", "421 Too many concurrent SMTP connections", "too_many_connections"),
        ("content", "454 Throttling failure: Maximum sending rate exceeded.", "throttled"),
        ("content", "454 Throttling failure: Daily message quota exceeded.", "throttled"),
        ("MAIL FROM", "530 Authentication required", "sign_in_required"),
        ("MAIL FROM", "530 Must issue a STARTTLS command first", "encryption_required"),
        ("content", "554 Message rejected: Email address is not verified. They failed the check in EU-WEST-1", "ses_sandbox"),
        # Postfix, Exim and others
        ("greeting", "421 4.7.0 mx.test Error: too many connections from 192.0.2.1", "too_many_connections"),
        ("AUTH", "535 Incorrect authentication data", "auth_refused"),
        ("AUTH", "534 5.7.9 Authentication mechanism is too weak", "auth_refused"),
        ("AUTH", "421 4.7.0 Try again later", "auth_later"),
        ("RCPT TO", "451 4.7.1 Greylisting in action, please come back in 00:05:00", "greylisted"),
        ("RCPT TO", "550 relay not permitted", "relay_denied"),
        ("RCPT TO", "550 5.7.1 Relaying denied. Proper authentication required.", "relay_denied"),
        ("RCPT TO", "550 No such user here", "recipient_unknown"),
        ("RCPT TO", "552 5.2.2 Over quota", "mailbox_full"),
        ("content", "552 5.2.3 Message length exceeds administrative limit", "mail_too_large"),
        ("content", "550 5.7.1 The content looks like spam", "content_refused"),
        ("content", "451 4.3.0 Try again", "refused_for_now"),
        ("MAIL FROM", "421 4.4.2 Timeout", "session_closed"),
        ("RSET", "500 5.5.2 Syntax error", "refused"),
        ("RCPT TO", "354 Go ahead", "unintelligible"),
        ("EHLO", "", "unintelligible"),
    ],
)
def test_a_reply_is_understood(step: str, reply: str, code: str) -> None:
    assert meaning_of(step, reply) == code


def test_the_page_shows_the_table_as_it_is() -> None:
    assert PAGE.read_text().endswith(table())  # otherwise: python -m tools.problems_page
