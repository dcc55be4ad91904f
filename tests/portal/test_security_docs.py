"""The threat model and the ASVS table name tests that exist; and what they say of the whole source is true."""

from __future__ import annotations

import re

import pytest

from tests.support.portal import ROOMS, ROOT

_TESTS = set(re.findall(r"^def (test_\w+)", "\n".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py")), re.M))
# Who calls a check of a password. A new place counts failures with organization.throttle.attempts, and comes here.
_CHECKS_PASSWORDS = {
    "accounts/passwords/current_password.py",  # in attempt()
    "accounts/passwords/rules.py",  # compares a new password with the current one, after the member was recognized
    "accounts/second_factor/challenge_views.py",  # authenticate(), which is the backend's
    "organization/backends.py",  # in attempt()
    "organization/models.py",  # Member.check_password, which the others call
}


@pytest.mark.parametrize("page", ["threat-model", "asvs"])
def test_the_tests_that_are_named_exist(page: str) -> None:
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "reference" / f"{page}.md").read_text())
    assert len(named) > 20
    assert set(named) <= _TESTS, sorted(set(named) - _TESTS)


def test_every_place_that_checks_a_password_is_known() -> None:
    call = re.compile(r"\b(?:a?check_password|a?authenticate)\(")
    places = {name for name, text in _sources().items() if call.search(text)}
    of_credentials = {"organization/credentials.py", "gateway/server.py"}  # 256 random bits
    assert places - of_credentials == _CHECKS_PASSWORDS


def test_no_page_is_exempt_from_the_check_of_forged_forms() -> None:
    assert not [name for name, text in _sources().items() if "csrf_exempt" in text]


def _sources() -> dict[str, str]:
    return {file.relative_to(ROOT).as_posix(): file.read_text() for room in ROOMS for file in (ROOT / room).rglob("*.py")}
