"""What the gateway reads out of MAIL and RCPT."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.command_parser import read_mail, read_rcpt
from outbox.exceptions import SubmissionRefused


def refusal_of(read, argument) -> str:
    with pytest.raises(SubmissionRefused) as refused:
        read(argument)
    return refused.value.reply


@pytest.mark.parametrize(
    ("argument", "address"),
    [
        ("TO:<ana@example.com>", "ana@example.com"),
        ("to: <ana@example.com>", "ana@example.com"),
        ("TO:ana@example.com", "ana@example.com"),
        ('TO:<"ana (home) > silva"@example.com>', '"ana (home) > silva"@example.com'),
        (r'TO:<"a\"b"@example.com> NOTIFY=NEVER', r'"a\"b"@example.com'),
        ("TO:<@relay.example,@other.example:ana@example.com>", "ana@example.com"),
        ("TO:<ana@[192.0.2.1]>", "ana@[192.0.2.1]"),
        ("TO:<>", ""),
        ("TO:<ana@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;ana@example.com", "ana@example.com"),
        ("TO:<ana@example.com>  orcpt=rfc822;a+2Bb@example.com ", "ana@example.com"),
    ],
)
def test_a_recipient_is_told_apart_from_its_parameters(argument, address):
    assert read_rcpt(argument) == address


@pytest.mark.parametrize(
    ("argument", "smtputf8"),
    [
        ("FROM:<crm@acme.example>", False),
        ("FROM:<crm@acme.example> SIZE=100 BODY=8BITMIME", False),
        ("FROM:<crm@acme.example> body=7bit smtputf8", True),
        ("FROM:<crm@acme.example> AUTH=<>", False),
        ("FROM:<crm@acme.example> AUTH=<crm@acme.example> RET=HDRS ENVID=QQ314159", False),
    ],
)
def test_what_clients_add_to_the_sender_is_accepted(argument, smtputf8):
    assert read_mail(argument) == ("crm@acme.example", smtputf8)


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        (None, "501 5.5.4 Syntax: RCPT TO:<address>"),
        ("FROM:<ana@example.com>", "501 5.5.4 Syntax: RCPT TO:<address>"),
        ("TO:", "501 5.5.4 Syntax: RCPT TO:<address>"),
        ("TO:<ana@example.com", "501 5.5.4 Syntax: RCPT TO:<address>"),
        ('TO:<"ana@example.com>', "501 5.5.4 Syntax: RCPT TO:<address>"),
        ("TO:<ana(home)@example.com>", "501 5.1.3 A comment in parentheses can't be part of an address here."),
        ("TO:<(x)ana@example.com>", "501 5.1.3 A comment in parentheses can't be part of an address here."),
        ("TO:<ana@example.com>(home)", "501 5.5.4 A space is expected before “(home)”."),
        ("TO:<ana@example.com> (home)", "501 5.5.4 “(home)” isn't a parameter."),
        ("TO:<ana@example.com> SIZE=1", "555 5.5.4 The parameter SIZE=1 is not supported."),
    ],
)
def test_what_is_no_recipient_is_refused_with_the_reason(argument, reply):
    assert refusal_of(read_rcpt, argument) == reply


@pytest.mark.parametrize(
    ("parameter", "reply"),
    [
        ("BODY=BINARYMIME", "555 5.5.4 The parameter BODY=BINARYMIME is not supported."),
        ("SMTPUTF8=yes", "555 5.5.4 The parameter SMTPUTF8=yes is not supported."),
        ("SIZE=many", "555 5.5.4 The parameter SIZE=many is not supported."),
        ("SIZE=99999999999999999999999", "552 5.3.4 The email has 99,999,999,999,999,999,999 bytes; at most"),
        ("NOTIFY=NEVER", "555 5.5.4 The parameter NOTIFY=NEVER is not supported."),
    ],
)
def test_parameters_that_the_gateway_does_not_know_are_refused(parameter, reply):
    assert refusal_of(read_mail, f"FROM:<crm@acme.example> {parameter}").startswith(reply)


@given(st.text(alphabet='TO:<>@.a1-+"\\ \t=(),;é\udc80', max_size=30).map("TO:".__add__))
def test_any_other_text_is_read_or_refused(argument):
    try:
        address = read_rcpt(argument)
    except SubmissionRefused as refused:
        assert refused.code in (501, 555)
    else:
        assert address in argument
