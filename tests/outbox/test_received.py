"""Our Received line, and what it says about loops."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from outbox.headers.parser import split_header
from outbox.headers.received import Hop, loop_reason
from outbox.models import Source


def line(app: str = "crm", stage: str = "qa", installation: str = "acme-1", via: Source = Source.GATEWAY) -> bytes:
    date = datetime(2026, 11, 26, 20, 15, tzinfo=UTC)
    return Hop(app, stage, via, installation, "portal.acme.example", 17, date).received_line()


def reason(*lines: bytes, app: str = "crm", stage: str = "qa") -> str:
    return loop_reason(split_header(b"".join(lines))[0], app, stage, "acme-1")


@pytest.mark.parametrize(("via", "protocol"), [(Source.GATEWAY, "ESMTPSA"), (Source.BACKEND, "LOCAL"), (Source.RESEND, "LOCAL")])
def test_the_line_says_who_and_how_but_nothing_of_the_client(via, protocol):
    (field,) = split_header(line(via=via))[0]
    assert field.value.decode() == (
        f"from crm by portal.acme.example with {protocol} id acme-1.17; Thu, 26 Nov 2026 20:15:00 +0000 (qa)"
    )


def test_a_message_that_comes_back_to_its_own_app_and_stage_is_a_loop():
    assert "came back" in reason(line())
    assert "came back" in reason(b"X-Original-" + line())  # as test mail carries the lines of an earlier round
    assert "came back" in reason(b"X-Original-X-Original-" + line().replace(b" id ", b"\r\n\tid "))
    assert not reason(line(), app="lists")
    assert not reason(line(), stage="production")
    assert not reason(line(installation="another"))


def test_a_message_that_three_apps_passed_on_is_a_loop():
    assert not reason(line("one"), line("two"))
    assert "3 times" in reason(line("one"), line("two"), line("three"))


def test_a_message_with_fifty_lines_of_any_server_is_a_loop():
    other = b"Received: from a.example by b.example; Thu, 26 Nov 2026 20:15:00 +0000\r\n"
    assert not reason(*[other] * 49)
    assert "50 Received lines" in reason(*[other] * 49, b"X-Original-" + other)
    assert not reason(*[b"X-" + other] * 60)
