"""fail2ban reads the portal's log with the filter that the portal ships."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from organization.credentials import create_credential
from organization.models import App, Member, Stage
from tests.support.guessers import FAIL2BAN_FILTER, GATEWAY_ADDRESS, PAGE_ADDRESS, fail_everywhere, kept_lines
from tests.support.portal import OPERATOR

pytestmark = [pytest.mark.interop, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("prefix", ["", "host gunicorn[77]: "])
def test_fail2ban_finds_every_guesser(viewer: Member, crm: App, qa: Stage, tmp_path: Path, log_format: str, prefix: str) -> None:
    """With and without what the systemd journal adds."""
    credential = create_credential(crm, qa, OPERATOR).credential
    with kept_lines(log_format) as lines:
        fail_everywhere(viewer.email, credential.username)
    log = tmp_path / "portal.log"
    log.write_text("".join(f"{prefix}{line}\n" for line in lines))
    command = ["fail2ban-regex", "--out", "ip", str(log), str(FAIL2BAN_FILTER)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert Counter(done.stdout.split()) == {PAGE_ADDRESS: 6, GATEWAY_ADDRESS: 1}
