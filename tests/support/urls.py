"""An example of each URL, in the organization of `everything` (tests/support/pages.py)."""

from __future__ import annotations

import re
from typing import Any

from django.apps import apps

from accounts.models import MemberSession, Passkey
from emailconfig.models import ConnectionTest, SmtpSettings
from emaillog.models import BulkAction
from organization.models import AllowedAddress, App, Credential, KeptHeader, Member, Role, RoleGrant, Stage
from outbox.models import Message
from testlists.models import TestList


def address_of(route: str) -> str:
    """An example of the route: of the app crm in the stage QA, where developers and viewers have something to see."""
    apps_with_models = "accounts|gateway|emaillog|delivery|analytics|outbox|emailconfig|testlists|organization"
    special = {
        f"admin/^(?P<app_label>{apps_with_models})/$": "/admin/organization/",
        "admin/(?P<url>.*)$": "/admin/no/such/page/",
        "admin/autocomplete/": "/admin/autocomplete/?app_label=organization&model_name=rolegrant&field_name=member",
        "help/images/<str:name>": "/help/images/home.png",
    }
    return special.get(route) or "/" + re.sub(r"<\w+:(\w+)>", lambda place: example_of(place[1], route), route)


def example_of(name: str, route: str) -> str:
    fixed = {"app_key": "crm", "stage_key": "qa", "name": "index", "number": "0", "content_type_id": "1", "token": "used"}
    rows: dict[str, Any] = {
        "credential_id": Credential,
        "kept_id": KeptHeader,
        "passkey_id": Passkey,
        "entry": AllowedAddress,
        "test_id": ConnectionTest,
        "action_id": BulkAction,
    }
    if name in ("member_id", "grant_id") and "/roles/<int:grant_id>/" in route:
        grant = RoleGrant.objects.get(member__name="Devon Dev")
        return str(grant.pk if name == "grant_id" else grant.member_id)
    if name == "member_id":
        return str(Member.objects.filter(name__in=("Nora", "Vera Viewer")).order_by("name").values_list("pk", flat=True)[0])
    if name == "session_id":
        sessions = MemberSession.objects.filter(member__name__in=("Nora", "Vera Viewer")).order_by("member__name")
        return str(sessions.values_list("pk", flat=True)[0])
    if name == "role_id":
        return str(Role.objects.get(name="Viewer").pk)
    if name == "object_id":
        return row_in_admin(route)
    if name == "message_id":
        return str(Message.objects.get(app__key="crm", stage__key="qa").pk)
    return fixed[name] if name in fixed else str(rows[name].objects.get().pk)


def row_in_admin(route: str) -> str:
    """A row that can be changed, if the model has one."""
    if "<path:content_type_id>" in route:
        return "1"
    model = apps.get_model(*route.split("/")[1:3])
    chosen: dict[type, Any] = {
        App: App.objects.filter(key="crm"),
        Member: Member.objects.filter(name="Devon Dev"),
        MemberSession: MemberSession.objects.filter(member__name="Devon Dev"),
        Role: Role.objects.filter(name="Viewer"),
        RoleGrant: RoleGrant.objects.filter(member__name="Devon Dev"),
        SmtpSettings: SmtpSettings.objects.filter(stage__key="qa"),
        Stage: Stage.objects.filter(key="qa"),
        TestList: TestList.objects.filter(app__key="crm", stage__key="qa"),
    }
    return str(chosen.get(model, model._default_manager.all()).values_list("pk", flat=True)[0])
