"""What is about to end, what that means, and who can act on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from django.db import models

from emailconfig.models import SmtpSettings
from organization.access import Scope
from organization.credentials import MAY_MANAGE
from organization.installation import portal_url
from organization.models import Credential, Stage
from organization.permissions import Permission
from organization.recipient_policy.changes import policy_in_force
from organization.recipient_policy.policy import RecipientPolicy
from testlists.models import TestList
from testlists.services import MAY_EDIT, lists_in_force
from testlists.state import holds_after_end

_DAY = timedelta(days=1)


class Kind(models.TextChoices):
    TEST_LIST = "test-list", "Test list"
    POLICY = "policy", "Recipient policy"
    CREDENTIAL = "credential", "Credential"
    CLIENT_SECRET = "client-secret", "Client secret"


# How long before the end members are reminded.
LEAD = {Kind.TEST_LIST: _DAY, Kind.POLICY: _DAY, Kind.CREDENTIAL: 7 * _DAY, Kind.CLIENT_SECRET: 7 * _DAY}


@dataclass(frozen=True)
class ComingEnd:
    """Something that has an end: what it is and what happens then, in words, and who can act on it, where."""

    kind: Kind
    number: int
    ends: datetime
    what: str
    then: str
    url: str
    scope: Scope
    permissions: tuple[Permission, ...]


def coming_ends(now: datetime) -> Iterator[ComingEnd]:
    """All that ends later than `now` and isn't archived."""
    yield from _of_test_lists(now)
    yield from _of_policies(now)
    yield from _of_credentials(now)
    yield from _of_client_secrets(now)


def _of_test_lists(now: datetime) -> Iterator[ComingEnd]:
    lists = lists_in_force().filter(active_until__gt=now, app__archived=False, stage__archived=False)
    for test_list in lists.select_related("app", "stage"):
        app, stage, ends = test_list.app, test_list.stage, test_list.active_until
        assert ends is not None
        what, scope = f"The test list of {app} in {stage}", Scope(app, stage)
        url = portal_url("app-emails-edit", app.key, stage.key)
        yield ComingEnd(Kind.TEST_LIST, test_list.pk, ends, what, _after_list(test_list, now), url, scope, MAY_EDIT)


def _after_list(test_list: TestList, now: datetime) -> str:
    stage = test_list.stage
    policy = policy_in_force(stage, now)
    if holds_after_end(policy, is_production=stage.is_production):
        return "From then on the app's emails are held until a person extends or deactivates the list."
    if policy == RecipientPolicy.AS_APPS_ASK:
        return "From then on the list is Inactive, and the app's emails go to the recipients that the app gives."
    return "From then on the list is Inactive, and the stage's recipient policy decides who gets the app's emails."


def _of_policies(now: datetime) -> Iterator[ComingEnd]:
    for stage in Stage.objects.filter(policy_until__gt=now, archived=False):
        assert stage.policy_until is not None
        wider, narrower = (RecipientPolicy(policy).label for policy in (stage.recipient_policy, stage.policy_afterwards))
        what, then = f"The recipient policy “{wider}” of {stage}", f"From then on the policy is “{narrower}” again."
        url = portal_url("recipient-policy", stage.key)
        needed = (Permission.MANAGE_EMAIL_CONFIGURATIONS,)
        yield ComingEnd(Kind.POLICY, stage.pk, stage.policy_until, what, then, url, Scope(stage=stage), needed)


def _of_credentials(now: datetime) -> Iterator[ComingEnd]:
    """A credential ends after its last day (UTC)."""
    rows = Credential.objects.filter(revoked_at=None, ends__gte=now.date())
    for credential in rows.filter(app__archived=False, stage__archived=False).select_related("app", "stage"):
        app, stage, last_day = credential.app, credential.stage, credential.ends
        assert last_day is not None
        ends = datetime.combine(last_day + _DAY, time(), UTC)
        what = f"The credential “{credential.name}” of {app} in {stage} ({credential.username})"
        then = "From then on the app can't send with it. Create another one and give it to the app before."
        url = portal_url("app-emails", app.key, stage.key)
        yield ComingEnd(Kind.CREDENTIAL, credential.pk, ends, what, then, url, Scope(app, stage), MAY_MANAGE)


def _of_client_secrets(now: datetime) -> Iterator[ComingEnd]:
    """A secret of the OAuth 2.0 provider counts until its last day begins (UTC)."""
    for settings in SmtpSettings.objects.filter(secret_ends__gt=now.date(), stage__archived=False).select_related("stage"):
        stage = settings.stage
        assert settings.secret_ends is not None
        ends = datetime.combine(settings.secret_ends, time(), UTC)
        what = f"The client secret with which {stage} signs in to {settings.server}"
        then = "From then on the stage can't send. Make a new one at the provider and save it here before."
        url, needed = portal_url("email-configuration-edit", stage.key), (Permission.MANAGE_EMAIL_CONFIGURATIONS,)
        yield ComingEnd(Kind.CLIENT_SECRET, settings.pk, ends, what, then, url, Scope(stage=stage), needed)
