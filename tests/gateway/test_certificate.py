"""The gateway's certificate: what is wrong with it is said in words, and a renewed one is read without a restart."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from pytest_django import Settings

from gateway import certificate, server
from gateway.certificate import CertificateWatch
from portal.checks import check_gateway_certificate
from tests.support.certificates import Authority
from tests.support.portal import environment, manage


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def use(settings: Settings, certificate: Path, key: Path) -> None:
    settings.GATEWAY_TLS_CERT, settings.GATEWAY_TLS_KEY = str(certificate), str(key)


def test_a_certificate_that_is_in_order_gives_no_trouble(settings: Settings, authority: Authority) -> None:
    use(settings, *authority.issue("gateway.acme.example", days=60))
    assert certificate.trouble() == ("", "")
    assert check_gateway_certificate() == []


@pytest.mark.parametrize("expired", [False, True])
def test_one_that_ends_soon_is_told_with_its_day(settings: Settings, authority: Authority, expired: bool) -> None:
    use(settings, *authority.issue("gateway.acme.example", expired=expired))
    unusable, ends_soon = certificate.trouble()
    assert (unusable, "expired on" in ends_soon) == ("", expired)
    assert [message.id for message in check_gateway_certificate()] == ["portal.W002"]


@pytest.mark.parametrize("wrong", ["missing", "other key", "no certificate"])
def test_one_that_cannot_be_used_is_told_with_its_variable(settings: Settings, authority: Authority, wrong: str) -> None:
    file, key = authority.issue("gateway.acme.example")
    _, other_key = authority.issue("other.acme.example")
    if wrong == "no certificate":
        file.write_text("nothing")
    use(settings, file, {"missing": Path("/nowhere/key.pem"), "other key": other_key}.get(wrong, key))
    words = {
        "missing": "GATEWAY_TLS_KEY: /nowhere/key.pem can't be read: No such file or directory.",
        "other key": "GATEWAY_TLS_CERT and GATEWAY_TLS_KEY don't belong together.",
        "no certificate": "GATEWAY_TLS_CERT and GATEWAY_TLS_KEY can't be used:",
    }[wrong]
    assert certificate.trouble()[0].startswith(words)
    assert [(message.id, message.msg.startswith(words)) for message in check_gateway_certificate()] == [("portal.E007", True)]


@pytest.mark.django_db(transaction=True)
def test_the_gateway_does_not_start_with_it(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, _ = authority.issue("gateway.acme.example")
    _, key = authority.issue("other.acme.example")
    for name, file in (("GATEWAY_TLS_CERT", certificate), ("GATEWAY_TLS_KEY", key)):
        monkeypatch.setitem(os.environ, name, str(file))
    assert environment()["GATEWAY_TLS_KEY"] == str(key)
    done = manage("smtp_gateway", "--port", "0")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "CommandError: GATEWAY_TLS_CERT and GATEWAY_TLS_KEY don't belong together."


def served_serial(context: ssl.SSLContext) -> int:
    """The serial number of the certificate that a client is shown now."""
    near, far = socket.socketpair()

    def serve() -> None:
        context.wrap_socket(far, server_side=True).close()

    server = threading.Thread(target=serve)
    server.start()
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    with client.wrap_socket(near) as tls:
        certificate = tls.getpeercert(binary_form=True)
    server.join(60)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


def test_a_renewed_certificate_is_shown_and_a_broken_one_is_not(settings: Settings, authority: Authority) -> None:
    certificate, key = authority.issue("gateway.acme.example", days=60)
    use(settings, certificate, key)
    context = server.tls_context()
    assert context is not None
    watch, first = CertificateWatch(context), served_serial(context)
    assert watch.check() == ""

    authority.issue("gateway.acme.example", days=70)
    os.utime(key, (1, 1))  # as if time had gone by since
    assert watch.check() == ""
    second = served_serial(context)
    assert second != first

    key.write_bytes(authority.issue("other.acme.example")[1].read_bytes())
    os.utime(key, (2, 2))
    assert "don't belong together" in watch.check()
    assert served_serial(context) == second
