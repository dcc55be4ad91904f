"""The demo organization of `make demo`, and the minimum with which measurements start."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from common.addresses import NamedAddress
from emailconfig.models import SmtpSettings
from emailconfig.services import save_smtp_settings, settings_of
from organization.access import Actor, Operator
from organization.builtin_roles import ADMINISTRATOR, DEVELOPER
from organization.credentials import NewCredential, create_credential, revoke_credential
from organization.govern.services import save_grant, save_role
from organization.members import create_member
from organization.models import App, Credential, Member, Role, RoleGrant, Stage
from organization.permissions import Permission
from organization.recipient_policy.policy import RecipientPolicy
from organization.services import create_stage, save_app
from testlists.services import ListChange, save_test_list, test_list_of

PASSWORD = "demo-portal-2026"  # printed by `make demo`; the seed refuses to run outside DEBUG
CREDENTIAL_NAME = "make demo"

_STAGES = [
    ("development", "Development", Stage.Kind.DEVELOPMENT),
    ("qa", "QA", Stage.Kind.NON_PRODUCTION),
    ("production", "Production", Stage.Kind.PRODUCTION),
]
_APPS = [
    ("crm", "Customer Relations", "Contacts, offers and newsletters", App.Colour.VIOLET),
    ("shop", "Web Shop", "Orders, invoices and shipping notices", App.Colour.TEAL),
    ("hr", "People", "Leave requests and pay slips", App.Colour.AMBER),
]


@dataclass(frozen=True)
class SignIn:
    """A demo member, and the role that they demonstrate."""

    email: str
    name: str
    role: str
    app: str | None


SIGN_INS = [
    SignIn("ada.admin@acme.example", "Ada Admin", ADMINISTRATOR, None),
    SignIn("dev.devon@acme.example", "Devon Dev", DEVELOPER, "crm"),
    SignIn("vera.viewer@acme.example", "Vera Viewer", "Viewer", None),
]


def seed_minimal(actor: Actor) -> None:
    """Create the stages and the app `crm`. Existing ones stay as they are."""
    for order, (key, name, kind) in enumerate(_STAGES, start=1):
        if not Stage.objects.filter(key=key).exists():
            create_stage(Stage(key=key, name=name, kind=kind, order=order), actor, RecipientPolicy.AS_APPS_ASK)
    _seed_app(*_APPS[0], actor)


def seed_demo(actor: Operator, smtp_port: int) -> NewCredential:
    """Create the whole demo organization and a new credential of `crm` in QA. What people have changed stays as it is.

    QA gets no SMTP settings, because the README's tour starts with setting it up.
    """
    with transaction.atomic():
        seed_minimal(actor)
        for app in _APPS[1:]:
            _seed_app(*app, actor)
        _seed_members(actor)
        for key in ("development", "production"):
            _seed_smtp(Stage.objects.get(key=key), smtp_port, actor)
        _seed_test_list(actor)
        return _fresh_credential(actor)


def _seed_app(key: str, name: str, description: str, colour: str, actor: Actor) -> None:
    if not App.objects.filter(key=key).exists():
        save_app(App(key=key, name=name, description=description, colour=colour), actor)


def _seed_members(actor: Actor) -> None:
    if not Role.objects.filter(name="Viewer").exists():
        save_role(Role(name="Viewer", permissions=[Permission.ACCESS_ASSET_LOGS.value]), [], actor)
    for sign_in in SIGN_INS:
        if Member.objects.filter(email=sign_in.email).exists():
            continue
        member = Member(email=sign_in.email, name=sign_in.name, is_staff=sign_in.role == ADMINISTRATOR)
        create_member(member, actor, password=PASSWORD)
        app = App.objects.get(key=sign_in.app) if sign_in.app else None
        save_grant(RoleGrant(member=member, role=Role.objects.get(name=sign_in.role), app=app), actor)


def _seed_smtp(stage: Stage, port: int, actor: Actor) -> None:
    settings = settings_of(stage) or SmtpSettings(
        stage=stage,
        server="127.0.0.1",
        security=SmtpSettings.Security.NONE,
        sender_address="no-reply@acme.example",
        sender_name="Acme",
        updated_by=str(actor),
    )
    if settings.updated_by == str(actor) and (settings.pk is None or settings.port != port):
        settings.port = port
        save_smtp_settings(settings, actor)


def _seed_test_list(actor: Actor) -> None:
    app, stage = App.objects.get(key="crm"), Stage.objects.get(key="development")
    if not test_list_of(app, stage).version:
        devon = Member.objects.filter(email=SIGN_INS[1].email)
        people = [NamedAddress("testers@acme.example", "CRM testers")]
        save_test_list(app, stage, ListChange(True, True, list(devon), people), actor)


def _fresh_credential(actor: Actor) -> NewCredential:
    """Make a new credential and revoke the last one. Passwords aren't stored, so each start needs a new one."""
    app, stage = App.objects.get(key="crm"), Stage.objects.get(key="qa")
    for old in Credential.objects.filter(app=app, stage=stage, name=CREDENTIAL_NAME, revoked_at=None):
        revoke_credential(old, actor)
    return create_credential(app, stage, actor, CREDENTIAL_NAME)
