"""The checklist of the first day on Home: what is left until an app's first email is sent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from django.urls import reverse

from common import sql
from organization.access import EVERYWHERE, Scope, allowed
from organization.credentials import MAY_MANAGE
from organization.models import App, Member, Stage
from organization.permissions import Permission
from portal import statements


class Step(NamedTuple):
    """One thing to do, and where. `url` is empty while a step before it isn't done."""

    label: str
    done: bool
    url: str


def first_day(member: Member, stages: Sequence[Stage], configured: Collection[int], own: Sequence[App]) -> list[Step]:
    """Return the steps that the member may do, the done ones among them. Empty once all of them are done.

    `configured` has the stages with settings, and `own` has the member's apps.
    """
    configurable = [stage for stage in stages if allowed(member, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)]
    edits_apps = any(member.has_perm_anywhere(permission.path) for permission in MAY_MANAGE)
    past = _past(stages) if configurable or edits_apps else statements.Past()
    steps = []
    if allowed(member, EVERYWHERE, Permission.MANAGE_STAGES):
        steps.append(Step("Create a stage", bool(stages), reverse("stage-new")))
    if configurable:
        steps += _of_stages(configurable, configured, tested=past.sent or past.tested)
    app = next(iter(own), None) or App.objects.filter(archived=False).first() if edits_apps else None
    if allowed(member, EVERYWHERE, Permission.CREATE_APPS):
        steps.append(Step("Create an app", app is not None, reverse("app-new")))
    if edits_apps:
        steps += _of_apps(member, stages, app, past)
    return [] if all(step.done for step in steps) else steps


def _past(stages: Sequence[Stage]) -> statements.Past:
    """What was done once stays done, such as a list that was Active or a credential that was revoked."""
    (past,) = sql.fetch(statements.PAST, [stage.pk for stage in stages], [stage.pk for stage in stages])
    return past


def _of_stages(stages: Sequence[Stage], configured: Collection[int], *, tested: bool) -> list[Step]:
    ready = [stage for stage in stages if stage.pk in configured]
    start = _first(ready or stages).key
    return [
        Step("Set up the SMTP server of a stage", bool(ready), reverse("email-configuration-edit", args=[start])),
        Step("Test the connection", tested, reverse("email-configuration", args=[start]) if ready else ""),
    ]


def _of_apps(member: Member, stages: Sequence[Stage], app: App | None, past: statements.Past) -> list[Step]:
    mine = [stage for stage in stages if app is not None and allowed(member, Scope(app, stage), *MAY_MANAGE)]
    place = [app.key, _first(mine).key] if app is not None and mine else []
    how_to_send = f"{reverse('help', args=['how-to/developer'])}#send"
    return [
        Step(
            "Make a test list Active",
            past.list_was_active,
            reverse("app-emails-edit", args=place) if place else "",
        ),
        Step(
            "Create a credential for an app",
            past.has_credential,
            f"{reverse('app-emails', args=place)}#credentials" if place else "",
        ),
        Step("Send the first email", past.sent, how_to_send if past.has_credential else ""),
    ]


def _first(stages: Sequence[Stage]) -> Stage:
    """The stage to begin with: not a Production stage, if there is another."""
    return next((stage for stage in stages if not stage.is_production), stages[0])
