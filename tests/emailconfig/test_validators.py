from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from emailconfig.models import SmtpSettings
from emailconfig.validators import is_loopback, normalize_domains, normalize_server, validate_ca_certificate


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("smtp.example.com", "smtp.example.com"),
        ("  SMTP.Example.COM\r\n", "smtp.example.com"),
        ("smtp.example.com.", "smtp.example.com"),
        ("smtp\u200b.example.com", "smtp.example.com"),
        ("mailhost", "mailhost"),
        ("_smtp.example.com", "_smtp.example.com"),
        ("1and1.example", "1and1.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("192.0.2.25", "192.0.2.25"),
        ("::1", "::1"),
        ("2001:DB8:0:0::25", "2001:db8::25"),
    ],
)
def test_a_server_is_stored_in_one_spelling(typed: str, stored: str) -> None:
    assert normalize_server(typed) == stored == normalize_server(stored)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("smtp://smtp.example.com", "looks like a URL"),
        ("smtp.example.com/", "looks like a URL"),
        ("https://user@smtp.example.com:587/", "looks like a URL"),
        ("user@smtp.example.com", "contains a username"),
        ("user:secret@smtp.example.com", "contains a username"),
        ("smtp.example.com:587", "contains a port"),
        ("smtp.example.com:", "contains a port"),
        ("192.0.2.25:25", "contains a port"),
        ("[192.0.2.25]", "brackets"),
        ("[2001:db8::25]:587", "brackets"),
        ("smtp example.com", "a space or a line break"),
        ("smtp.example.com\nRSET", "a space or a line break"),
        ("smtp.example.com\r\nMAIL FROM:<x@y>", "a space or a line break"),
        ("smtp.example.com\0", "a space or a line break"),
        ("smtp\u00a0.example.com", "a space or a line break"),
        ("", "neither a host name"),
        (".", "neither a host name"),
        ("。", "isn't a host name"),
        ("smtp..example.com", "neither a host name"),
        ("-smtp.example.com", "neither a host name"),
        ("smtp-.example.com", "neither a host name"),
        ("smtp.example.com;", "neither a host name"),
        ("smtp,example", "neither a host name"),
        ("x" * 64 + ".com", "neither a host name"),
        (".".join(["x" * 60] * 5), "neither a host name"),
        ("587", "neither a host name"),
        ("2130706433", "neither a host name"),
        ("127.1", "neither a host name"),
        ("192.0.2.256", "neither a host name"),
        ("0177.0.0.1", "neither a host name"),
        ("0x7f000001", "neither a host name"),
        ("127.0.0.0x1", "neither a host name"),
        ("2001:db8::g", "neither a host name"),
    ],
)
def test_what_is_no_single_host_is_refused_with_the_reason(typed: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        normalize_server(typed)


@given(st.text(st.characters(exclude_categories=())) | st.text(st.sampled_from("aA0ä.-_:/@[]% \r\n。\ud800İ例\u200d")))
def test_no_text_brings_more_than_a_validation_error_and_a_server_is_ascii(text: str) -> None:
    try:
        server = normalize_server(text)
    except ValidationError as error:
        "".join(error.messages).encode()  # can be shown
    else:
        assert server.isascii()
        assert normalize_server(server) == server


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("", ""),
        ("acme.example", "acme.example"),
        ("ACME.example, @shop.example;\n\nbücher.example acme.example", "acme.example\nshop.example\nxn--bcher-kva.example"),
        ("*", "*"),
        ("*.ACME.example, *.bücher.example", "*.acme.example\n*.xn--bcher-kva.example"),
        ("@*.acme.example", "*.acme.example"),
    ],
)
def test_sender_domains_are_stored_one_per_line_and_once(typed: str, stored: str) -> None:
    assert normalize_domains(typed) == stored


@pytest.mark.parametrize("typed", ["acme.example/", "ana@acme.example", "*.", "**", "a.*.example", "*.*.example"])
def test_what_is_no_domain_is_refused_as_a_sender_domain(typed: str) -> None:
    with pytest.raises(ValidationError):
        normalize_domains(typed)


@pytest.mark.parametrize(
    ("address", "other_domains", "allowed"),
    [
        ("crm@acme.example", "", True),
        ("crm@ACME.example", "", True),
        ("crm@sub.acme.example", "", False),
        ("crm@acme.example.evil.example", "", False),
        ("crm@other.example", "", False),
        ("crm@other.example", "other.example", True),
        ("crm@bücher.example", "xn--bcher-kva.example", True),
        ("crm@anything.example", "*", True),
        ("crm@shop.acme.test", "*.acme.test", True),
        ("crm@eu.shop.ACME.test", "*.acme.test", True),
        ("crm@acme.test", "*.acme.test", False),
        ("crm@evilacme.test", "*.acme.test", False),
        ("crm@acme.test.evil.example", "*.acme.test", False),
        ("crm@shop.bücher.example", "*.xn--bcher-kva.example", True),
        ("", "*.acme.test", False),
        ("", "", False),
    ],
)
def test_apps_send_as_the_senders_domain_and_the_allowed_ones(address: str, other_domains: str, allowed: bool) -> None:
    settings = SmtpSettings(sender_address="no-reply@acme.example", from_domains=other_domains)
    assert settings.allows_sender(address) is allowed


def test_a_sender_whose_own_domain_is_international_is_allowed_in_both_spellings() -> None:
    settings = SmtpSettings(sender_address="no-reply@bücher.example")
    assert settings.allows_sender("crm@bücher.example")
    assert settings.allows_sender("crm@xn--bcher-kva.example")


@pytest.mark.parametrize("server", ["127.0.0.1", "127.255.255.254", "::1", "localhost"])
def test_this_machine_is_loopback(server: str) -> None:
    assert is_loopback(server)


@pytest.mark.parametrize("server", ["10.0.0.1", "0.0.0.0", "smtp.example.com", "localhost.example.com", "fe80::1"])
def test_other_servers_are_not_loopback(server: str) -> None:
    assert not is_loopback(server)


@pytest.mark.parametrize(
    "pem",
    ["rubbish", "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----", "ä" * 10, "-----BEGIN CERTIFICATE-----"],
)
def test_what_openssl_cannot_read_is_no_certificate(pem: str) -> None:
    with pytest.raises(ValidationError, match="isn't a certificate in PEM form"):
        validate_ca_certificate(pem)
