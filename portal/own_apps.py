"""A developer's apps on Home: their test lists in each stage, and their last emails."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from analytics.report import Places, rows_of
from common.clock import database_now
from organization.access import Scope, allowed
from organization.models import App, Member, Stage
from organization.permissions import Permission
from outbox.models import Message
from testlists.models import TestList
from testlists.services import MAY_EDIT, waits_for_decision

_APPS_SHOWN = 8
_EMAILS_SHOWN = 5
# The last emails of an app are looked for among so many of all, so that a quiet app beside a busy one costs nothing.
EMAILS_LOOKED_AT = 10_000


@dataclass(frozen=True)
class ListOfStage:
    """The test list of an app in a stage. `state` is "active", "expired" (it holds emails) or "inactive"."""

    stage: Stage
    test_list: TestList
    state: str


@dataclass(frozen=True)
class AppRow:
    app: App
    lists: list[ListOfStage]


def own_apps(member: Member, stages: Sequence[Stage]) -> list[App]:
    """Return the apps that a member develops: those that they have a role for, or else the first of all that they may edit.

    Those who look after the stages have no apps of their own, only the ones that they were given a role for.
    """
    if not any(member.has_perm_anywhere(permission.path) for permission in MAY_EDIT):
        return []
    given = {grant.app.pk: grant.app for grant in member.grants if grant.app is not None and not grant.app.archived}
    apps = sorted(given.values(), key=lambda app: app.name)
    if not apps and not member.has_perm_anywhere(Permission.MANAGE_EMAIL_CONFIGURATIONS.path):
        apps = list(App.objects.filter(archived=False)[:_APPS_SHOWN])
    editable = [app for app in apps if any(allowed(member, Scope(app, stage), *MAY_EDIT) for stage in stages)]
    return editable[:_APPS_SHOWN]


def app_rows(member: Member, apps: Sequence[App], stages: Sequence[Stage]) -> list[AppRow]:
    """Return a row for each app, with its lists in the stages where the member may edit them."""
    if not apps:
        return []
    now = database_now()
    by_app: defaultdict[int, dict[int, TestList]] = defaultdict(dict)
    for stored in TestList.objects.filter(app__in=apps, stage__in=stages).select_related("stage"):
        by_app[stored.app_id][stored.stage_id] = stored
    return [
        AppRow(
            app,
            [
                ListOfStage(stage, test_list, _state(test_list, now))
                for stage in stages
                if (test_list := by_app[app.pk].get(stage.pk)) and allowed(member, Scope(app, stage), *MAY_EDIT)
            ],
        )
        for app in apps
    ]


def _state(test_list: TestList, now: datetime) -> str:
    if test_list.is_active(now):
        return "active"
    return "expired" if waits_for_decision(test_list, now) else "inactive"


def last_emails(apps: Sequence[App], places: Places) -> list[Message]:
    """Return the newest emails of these apps, as far as the member may see them in the log."""
    if not apps or not places:
        return []
    newest = Message.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    rows = Message.objects.filter(rows_of(places), app__in=apps, pk__gt=newest - EMAILS_LOOKED_AT)
    return list(rows.select_related("app", "stage").defer("search_text").order_by("-pk")[:_EMAILS_SHOWN])
