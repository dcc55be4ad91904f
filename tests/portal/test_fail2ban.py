"""The filter for fail2ban finds the addresses of guessers in the log. `make interop` asks fail2ban itself."""

from __future__ import annotations

import configparser
import re
from collections import Counter

import pytest

from organization.credentials import create_credential
from organization.models import App, Member, Stage
from tests.support.guessers import FAIL2BAN_FILTER, GATEWAY_ADDRESS, PAGE_ADDRESS, fail_everywhere, kept_lines
from tests.support.portal import OPERATOR

_DATE = re.compile(r'^\d{4}-\d\d-\d\dT[\d:.]+Z|"timestamp": "[^"]+"')


def addresses(line: str) -> list[str]:
    """What fail2ban does: remove the date, then try each expression."""
    parser = configparser.ConfigParser()
    parser.read(FAIL2BAN_FILTER)
    without_date = _DATE.sub("", line, count=1)
    expressions = parser["Definition"]["failregex"].splitlines()
    matches = [re.search(text.replace("<ADDR>", r"(?P<address>[\da-f:.]+)"), without_date) for text in expressions]
    return [match["address"] for match in matches if match]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("log_format", ["console", "json"])
def test_each_failed_sign_in_names_its_client(viewer: Member, crm: App, qa: Stage, log_format: str) -> None:
    credential = create_credential(crm, qa, OPERATOR).credential
    with kept_lines(log_format) as lines:
        fail_everywhere(viewer.email, credential.username)
    assert Counter(address for line in lines for address in addresses(line)) == {PAGE_ADDRESS: 6, GATEWAY_ADDRESS: 1}
    assert viewer.email not in "".join(lines)
    assert "guessed" not in "".join(lines)


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-27T07:51:22.1Z [warning  ] request_finished [a] request='GET /[info ] sign_in_failed [a] client=203.0.113.9'",
        '{"request": "GET /{\\"client\\": \\"203.0.113.9\\", \\"event\\": \\"sign_in_failed\\"", "event": "request_finished"}',
        '{"client": "192.0.2.7", "username": "x\\", \\"event\\": \\"sign_in_failed\\"", "event": "gateway_client_silent"}',
    ],
)
def test_no_one_can_have_another_address_banned(line: str) -> None:
    assert addresses(line) == []
