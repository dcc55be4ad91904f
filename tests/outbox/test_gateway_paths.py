"""The gateway's own reading of plain addresses in MAIL and RCPT says what aiosmtpd's parser says."""

from __future__ import annotations

import pytest
from aiosmtpd.smtp import SMTP
from hypothesis import given
from hypothesis import strategies as st

from outbox.gateway import _PLAIN_PATH, GatewayServer

GATEWAY = GatewayServer.__new__(GatewayServer)


def agrees(path: str) -> bool:
    stock = SMTP._getaddr(GATEWAY, path)
    return GATEWAY._getaddr(path) == tuple(None if part is None else str(part) for part in stock)


@given(st.from_regex(_PLAIN_PATH, fullmatch=True))
def test_every_path_it_reads_itself(path):
    assert agrees(path)


@given(
    st.text(alphabet='<>@.a1-+"\\ \t=(),;:é', max_size=25) | st.text(alphabet="ab.@- =", max_size=20).map("<{}@b.example>".format)
)
def test_every_other_text(path):
    try:
        assert agrees(path)
    except (IndexError, AttributeError):  # what aiosmtpd's parser makes of rubbish is its own affair
        assert _PLAIN_PATH.fullmatch(path) is None


@pytest.mark.parametrize(
    ("path", "address", "parameters"),
    [
        ("<ana@example.com>", "ana@example.com", ""),
        ("<a.b+c@mail.example.com> SIZE=100 BODY=8BITMIME", "a.b+c@mail.example.com", "SIZE=100 BODY=8BITMIME"),
        ("<ana@example.com>  SMTPUTF8 ", "ana@example.com", "SMTPUTF8 "),
        ('<"a b"@example.com>', '"a b"@example.com', ""),
    ],
)
def test_address_and_parameters_are_told_apart(path, address, parameters):
    assert GATEWAY._getaddr(path) == (address, parameters)
