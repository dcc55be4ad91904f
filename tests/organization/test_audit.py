from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from organization import audit
from organization.audit import filters
from organization.credentials import create_credential
from organization.govern.services import revoke_grant
from organization.members import give_password
from organization.models import App, AuditEvent, Credential, Member, RoleGrant, Stage
from organization.services import save_in_organization
from organization.statements import AUDIT_TABLE
from portal.housekeeping import prune
from tests.support.interleaving import right_before
from tests.support.portal import OPERATOR, make_member


def test_an_event_is_never_changed_or_deleted(crm: App, as_administrator: Client) -> None:
    event = audit.record(OPERATOR, "Update", crm)
    event.actor_name = "another member"
    with pytest.raises(TypeError, match="append-only"):
        event.save()
    with pytest.raises(TypeError, match="append-only"):
        event.delete()
    with pytest.raises(TypeError, match="append-only"):
        AuditEvent.objects.filter(pk=event.pk).update(actor_name="another member")
    with pytest.raises(TypeError, match="append-only"):
        AuditEvent.objects.all().delete()
    base = f"/admin/organization/auditevent/{event.pk}/"
    assert as_administrator.get(f"{base}change/").status_code == 200
    assert as_administrator.post(f"{base}change/", {"actor_name": "x"}).status_code == 403
    assert as_administrator.post(f"{base}delete/", {"post": "yes"}).status_code == 403
    assert as_administrator.get("/admin/organization/auditevent/add/").status_code == 403
    assert AuditEvent.objects.get().actor_name == "the tests"


@pytest.mark.parametrize("statement", ["UPDATE {} SET actor_name = 'another member'", "DELETE FROM {}"])
def test_the_database_refuses_what_bypasses_the_portal(crm: App, statement: str) -> None:
    audit.record(OPERATOR, "Update", crm)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format(AUDIT_TABLE))
    assert AuditEvent.objects.get().actor_name == "the tests"


def test_old_events_are_removed_and_none_that_is_younger_than_ninety_days(crm: App, settings: Settings) -> None:
    for days in (400, 91, 89, 0):
        with time_machine.travel(timezone.now() - timedelta(days=days), tick=False):
            audit.record(OPERATOR, "Update", crm)
    settings.LOG_RETENTION_DAYS = 365
    prune()
    assert AuditEvent.objects.count() == 3
    settings.LOG_RETENTION_DAYS = 1
    prune()
    assert AuditEvent.objects.count() == 2


def test_an_event_names_other_rows_as_they_were_called(qa: Stage, crm: App) -> None:
    credential = create_credential(crm, qa, OPERATOR, "web server").credential
    event = AuditEvent.objects.get(entity="credential")
    assert (event.after["app"], event.after["stage"]) == ("Customer Relations", "QA")
    assert event.entity_name == str(credential)


def test_an_operation_that_has_no_name_is_refused(crm: App) -> None:
    with pytest.raises(ValueError, match="Upset"):
        audit.record(OPERATOR, "Upset", crm)
    assert not AuditEvent.objects.exists()


def test_admin_offers_the_operations_of_the_newest_events(crm: App, qa: Stage, as_administrator: Client, monkeypatch) -> None:
    monkeypatch.setattr(filters, "_LOOKED_AT", 3)
    for operation, entity in (("Revoke", qa), ("Update", crm), ("Create", qa), ("Update", crm)):
        audit.record(OPERATOR, operation, entity)
    page = as_administrator.get("/admin/organization/auditevent/", {"operation": "Update"})
    shown = page.context["cl"]
    choices = {spec.title: [choice["display"] for choice in spec.choices(shown)] for spec in shown.filter_specs}
    assert choices == {"operation": ["All", "Create", "Update"], "entity": ["All", "app", "stage"]}
    assert [event.operation for event in shown.result_list] == ["Update", "Update"]
    old = as_administrator.get("/admin/organization/auditevent/", {"operation": "Revoke"})
    assert [event.operation for event in old.context["cl"].result_list] == ["Revoke"]


def test_only_what_differs_is_kept(qa: Stage) -> None:
    qa.name, qa.order = "Quality", 7
    save_in_organization(qa, OPERATOR)
    event = AuditEvent.objects.get()
    assert (event.operation, event.before, event.after) == (
        "Update",
        {"name": "QA", "order": 2, "version": 0},
        {"name": "Quality", "order": 7, "version": 1},
    )
    assert event.stage == qa


def test_the_name_of_who_acted_stays_when_the_member_goes(crm: App) -> None:
    member = make_member("Mia")
    audit.record(member, "Update", crm)
    member.delete()
    event = AuditEvent.objects.get()
    assert event.actor_name == "Mia <mia@acme.example>"
    assert str(event) in str(list(AuditEvent.objects.select_related("actor")))


def test_a_password_is_a_mask_when_set_and_a_changed_one_is_seen_to_change(viewer: Member) -> None:
    assert str(audit.snapshot(viewer)["password"]) == audit.MASK
    assert str(audit.snapshot(Member())["password"]) == ""
    assert viewer.password not in str(audit.snapshot(viewer))
    before = audit.snapshot(viewer)
    viewer.set_password("another-long-phrase")
    audit.record(OPERATOR, audit.Operation.UPDATE, viewer, before=before, after=audit.snapshot(viewer))
    event = AuditEvent.objects.get()
    assert (event.before, event.after) == ({"password": audit.MASK}, {"password": audit.MASK})


def test_what_is_refused_leaves_no_trace(qa: Stage) -> None:
    qa.name = ""
    with pytest.raises(ValidationError):
        save_in_organization(qa, OPERATOR)
    assert not AuditEvent.objects.exists()
    assert Stage.objects.get().name == "QA"


@pytest.mark.parametrize(
    "change",
    [
        lambda member, app, stage: save_in_organization(stage, OPERATOR),
        lambda member, app, stage: create_credential(app, stage, OPERATOR),
        lambda member, app, stage: revoke_grant(member.role_grants.get(), OPERATOR),
        lambda member, app, stage: give_password(member, "another-long-phrase", OPERATOR),
    ],
    ids=["stage", "credential", "grant", "password"],
)
def test_a_change_whose_entry_cannot_be_written_is_not_made(
    developer: Member, crm: App, qa: Stage, change: Callable[[Member, App, Stage], object]
) -> None:
    def stored() -> list[object]:
        return [list(model.objects.values()) for model in (Stage, Credential, RoleGrant, Member)]

    def fail(*_: object) -> None:
        raise OperationalError("disk full")

    qa.name = "Quality"
    before = stored()
    with right_before(f'INSERT INTO "{AUDIT_TABLE}"', fail), pytest.raises(OperationalError):
        change(developer, crm, qa)
    assert stored() == before


def test_a_deleted_grant_is_remembered(developer: Member) -> None:
    revoke_grant(developer.role_grants.get(), OPERATOR)
    event = AuditEvent.objects.get()
    assert (event.operation, event.entity_name) == ("Delete", "Developer for Devon Dev over Customer Relations")
    assert event.before
    assert not event.after


def test_very_long_names_are_cut_not_refused(crm: App) -> None:
    class Long:
        def __str__(self) -> str:
            return "x" * 5000

        def has_perm(self, perm: str, obj: object = None) -> bool:
            return True

    assert len(audit.record(Long(), "Update", crm).actor_name) == 360
