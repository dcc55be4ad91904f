"""Failed sign-ins at the page and the gateway, and the log lines that they leave."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import django.test
import pytest
import structlog

import gateway.server
from organization.throttle import attempts, records
from portal.log_config import log_config
from tests.support.gateway_client import Client, gateway_thread
from tests.support.portal import ROOT

FAIL2BAN_FILTER = ROOT / "docs" / "fail2ban" / "odc-email-portal.conf"
PAGE_ADDRESS, GATEWAY_ADDRESS = "2001:db8::7", "127.0.0.1"


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def kept_lines(log_format: str) -> Iterator[list[str]]:
    """The lines of guesses as the portal writes them in this LOG_FORMAT, from the lowest level on."""
    handler, configured = _Lines(), structlog.get_config()
    log_config(log_format, "INFO")
    with pytest.MonkeyPatch.context() as patch:
        for module in (attempts, records, gateway.server):
            logger = logging.Logger(module.__name__)
            logger.addHandler(handler)
            patch.setattr(module, "log", structlog.wrap_logger(logger, wrapper_class=structlog.stdlib.BoundLogger).bind())
        structlog.configure(**configured)
        yield handler.lines


def fail_everywhere(email: str, credential: str) -> None:
    """Six guesses at the page, the last of which is throttled, and one at the gateway."""
    page = django.test.Client(REMOTE_ADDR=PAGE_ADDRESS, HTTP_USER_AGENT="sign_in_failed client=203.0.113.9")
    for _ in range(6):
        page.post("/accounts/login/?sign_in_failed client=203.0.113.9", {"username": email, "password": "guessed"})
    with gateway_thread() as port, Client(port) as client:
        client.say("EHLO sign_in_failed")
        client.say("AUTH PLAIN " + base64.b64encode(f"\0{credential}\0guessed".encode()).decode())
