"""The checklist of the first day on Home: what is left until an app's first email is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.urls import reverse

from emailconfig.models import LastTest, SmtpSettings
from organization.access import EVERYWHERE, Scope, allowed
from organization.credentials import MAY_MANAGE
from organization.models import App, Credential, Member, Stage
from organization.permissions import Permission
from outbox.models import Message, Source, Status
from testlists.models import TestList


class Step(NamedTuple):
    """One thing to do, and where. `url` is empty while a step before it isn't done."""

    label: str
    done: bool
    url: str


def first_day(member: Member, stages: Sequence[Stage], own: Sequence[App]) -> list[Step]:
    """Return the steps that the member may do, the done ones among them. Empty once all of them are done.

    What is done once stays done, such as a list that was Active or a credential that was revoked. `own` are the member's apps.
    """
    configurable = [stage for stage in stages if allowed(member, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)]
    edits_apps = any(member.has_perm_anywhere(permission.path) for permission in MAY_MANAGE)
    sent = bool(configurable or edits_apps) and _has_sent(stages)
    steps = []
    if allowed(member, EVERYWHERE, Permission.MANAGE_STAGES):
        steps.append(Step("Create a stage", bool(stages), reverse("stage-new")))
    if configurable:
        steps += _of_stages(configurable, sent=sent)
    app = next(iter(own), None) or App.objects.filter(archived=False).first() if edits_apps else None
    if allowed(member, EVERYWHERE, Permission.CREATE_APPS):
        steps.append(Step("Create an app", app is not None, reverse("app-new")))
    if edits_apps:
        steps += _of_apps(member, stages, app, sent=sent)
    return [] if all(step.done for step in steps) else steps


def _has_sent(stages: Sequence[Stage]) -> bool:
    """Whether an app's email was sent. A test mail proves the stage alone."""
    return Message.objects.filter(stage__in=stages, status=Status.SENT).exclude(via=Source.PORTAL).exists()


def _of_stages(stages: Sequence[Stage], *, sent: bool) -> list[Step]:
    configured = set(SmtpSettings.objects.filter(stage__in=stages).values_list("stage", flat=True))
    start = _first([stage for stage in stages if stage.pk in configured] or stages).key
    tested = sent or LastTest.objects.filter(stage__in=stages, succeeded=True).exists()
    return [
        Step("Set up the SMTP server of a stage", bool(configured), reverse("email-configuration-edit", args=[start])),
        Step("Test the connection", tested, reverse("email-configuration", args=[start]) if configured else ""),
    ]


def _of_apps(member: Member, stages: Sequence[Stage], app: App | None, *, sent: bool) -> list[Step]:
    mine = [stage for stage in stages if app is not None and allowed(member, Scope(app, stage), *MAY_MANAGE)]
    place = [app.key, _first(mine).key] if app is not None and mine else []
    has_credential = Credential.objects.exists()
    return [
        Step(
            "Make a test list Active",
            TestList.objects.filter(active_version__gt=0).exists(),
            reverse("app-emails-edit", args=place) if place else "",
        ),
        Step(
            "Create a credential for an app",
            has_credential,
            f"{reverse('app-emails', args=place)}#credentials" if place else "",
        ),
        Step("Send the first email", sent, f"{reverse('help', args=['how-to/developer'])}#send" if has_credential else ""),
    ]


def _first(stages: Sequence[Stage]) -> Stage:
    """The stage to begin with: not a Production stage, if there is another."""
    return next((stage for stage in stages if not stage.is_production), stages[0])
