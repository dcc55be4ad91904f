"""Fifty wrong sign-ins at page, Django admin and gateway. `python -m tools.guessing` makes ten thousand."""

from __future__ import annotations

import pytest

from organization.credentials import create_credential
from organization.models import App, AuditEvent, FailureCount, Member, Stage
from tests.support.portal import OPERATOR, environment
from tools.guessing import Portal, flood


@pytest.mark.django_db(transaction=True)
def test_fifty_guesses_cost_little_and_the_portal_answers_meanwhile(viewer: Member, crm: App, qa: Stage) -> None:
    credential = create_credential(crm, qa, OPERATOR).credential
    with Portal(environment()) as portal:
        answers = flood(portal, 50, 120, viewer.email, credential.username, guessers=1)
    for place in ("page", "admin"):
        checked, throttled = answers[place].codes["200"], answers[place].codes["429"]
        assert checked >= 5
        assert throttled > 0
        assert checked + throttled == 17
    assert set(answers["gateway"].codes) <= {"535", "421"}
    assert answers["gateway"].codes["421"] > 0
    for place in ("page", "admin", "gateway"):
        assert set(answers[f"/healthz during {place}"].codes) == {"200"}
    assert FailureCount.objects.count() <= 6
    assert AuditEvent.objects.filter(operation="Sign in").count() <= 4
