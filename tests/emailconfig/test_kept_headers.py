"""Header fields that a stage's test mail keeps: the same rules on the page, in Django admin and at the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management import CommandError, call_command
from django.test import Client

from organization.access import Operator
from organization.kept_headers.changes import keep_header, stop_keeping_header
from organization.models import AuditEvent, KeptHeader, Role, Stage
from organization.permissions import Permission
from tests.support.portal import OPERATOR, configure, make_member, signed_in

PAGE = "/management/configure/emails/qa/kept-headers/"
ADMIN = "/admin/organization/keptheader/"
REFUSED = [
    *("To", "cc", "BCC", "From", "Sender", "Reply-To", "Return-Path", "Return-Receipt-To", "Resent-To", "Errors-To", "Received"),
    *("Disposition-Notification-To", "List-Unsubscribe", "List-Id", "Mail-Followup-To", "DKIM-Signature", "ARC-Seal"),
    *("X-Original-To", "X-Email-Log", "Delivered-To", "X-Envelope-To", "X-Confirm-Reading-To", "X-Rcpt-Args"),
    *("X-SMTPAPI", "X-MC-BccAddress", "X-MSYS-API", "X-Mailgun-Variables", "X-PM-Tag", "X-SES-Source-ARN", "X-MJ-CustomID"),
    *("x-sg-eid", "X-Mailin-Custom", "X-MS-Exchange-Organization-SCL"),
    *("", "X Order", "X-Order:", "X-Ordér", "X-" + "o" * 80, "X-Order\r\nBcc"),
]  # fmt: skip


def on_the_page(client: Client, name: str, typed: str = "QA") -> str:
    """What the page answers; empty when it stored the field."""
    answer = client.post(PAGE, {"name": name, "stage_name": typed})
    return "" if answer.status_code == 302 else str(answer.context["form"].errors)


def in_admin(client: Client, name: str, typed: str = "QA") -> str:
    stage = Stage.objects.get(key="qa")
    answer = client.post(f"{ADMIN}add/", {"stage": stage.pk, "name": name, "stage_name": typed})
    return "" if answer.status_code == 302 else str(answer.context["adminform"].form.errors)


def by_command(client: Client, name: str, typed: str = "QA") -> str:
    try:
        call_command("stage_policy", "qa", "--keep-header", name, stdout=StringIO())
    except CommandError as error:
        return str(error)
    return ""


ENTRY_POINTS = [on_the_page, in_admin, by_command]
EntryPoint = Callable[..., str]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_a_field_is_kept_once_and_the_audit_trail_says_by_whom(
    as_administrator: Client, qa: Stage, production: Stage, entry_point: EntryPoint
) -> None:
    assert entry_point(as_administrator, "X-Acme-Order") == ""
    assert "already keeps this field" in entry_point(as_administrator, "x-acme-order")
    keep_header(production, "X-Acme-Order", OPERATOR, typed_stage_name="Production")
    assert qa.kept_headers.get().name == "X-Acme-Order"
    event = AuditEvent.objects.filter(stage=qa).get()
    assert (event.operation, event.entity, event.entity_name) == ("Create", "kept header field", "X-Acme-Order")


@pytest.mark.parametrize("name", REFUSED)
def test_a_field_that_acts_is_refused(qa: Stage, name: str) -> None:
    with pytest.raises(ValidationError) as error:
        keep_header(qa, name, OPERATOR, typed_stage_name="QA")
    assert "name" in error.value.message_dict
    assert not KeptHeader.objects.exists()


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_every_entry_point_refuses_with_the_reason(as_administrator: Client, qa: Stage, entry_point: EntryPoint) -> None:
    assert "providers read commands from it" in entry_point(as_administrator, "X-SMTPAPI")
    assert "may write to the people it names" in entry_point(as_administrator, "Errors-To")
    assert not KeptHeader.objects.exists()
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("entry_point", [on_the_page, in_admin])
@pytest.mark.parametrize("typed", ["", "qa", "Production"])
def test_the_stages_name_is_typed(as_administrator: Client, qa: Stage, entry_point: EntryPoint, typed: str) -> None:
    assert "stage_name" in entry_point(as_administrator, "X-Acme-Order", typed)
    with pytest.raises(ValidationError, match="isn't the stage's name"):
        keep_header(qa, "X-Acme-Order", OPERATOR, typed_stage_name=typed)
    assert not KeptHeader.objects.exists()


def test_only_email_administrators_of_the_stage_change_them(as_developer: Client, as_viewer: Client, qa: Stage) -> None:
    kept = keep_header(qa, "X-Acme-Order", OPERATOR, typed_stage_name="QA")
    for client in (as_developer, as_viewer):
        page = client.get(PAGE)
        assert "X-Acme-Order" in page.content.decode()
        assert "Keep another field" not in page.content.decode()
        assert client.post(PAGE, {"name": "X-Other", "stage_name": "QA"}).status_code == 403
        assert client.post(f"{PAGE}{kept.pk}/remove/").status_code == 403
    assert KeptHeader.objects.count() == 1
    with pytest.raises(PermissionDenied):
        keep_header(qa, "X-Other", _Nobody("a stranger"), typed_stage_name="QA")


class _Nobody(Operator):
    def has_perm(self, perm: str, obj: object = None) -> bool:
        return False


def test_a_field_is_removed_and_the_audit_trail_says_so(as_administrator: Client, qa: Stage, production: Stage) -> None:
    first, second, third = (keep_header(qa, f"X-{name}", OPERATOR, typed_stage_name="QA") for name in "ABC")
    assert as_administrator.get(f"{PAGE}{first.pk}/remove/").status_code == 405
    assert as_administrator.post(f"{PAGE.replace('qa', 'production')}{first.pk}/remove/").status_code == 404
    as_administrator.post(f"{PAGE}{first.pk}/remove/")
    as_administrator.post(f"{ADMIN}{second.pk}/delete/", {"post": "yes"})
    call_command("stage_policy", "qa", "--no-keep-header", "x-c", stdout=StringIO())
    stop_keeping_header(first, OPERATOR)  # by a member whose page was older
    assert not KeptHeader.objects.exists()
    removed = AuditEvent.objects.filter(operation="Delete").values_list("entity_name", flat=True)
    assert sorted(removed) == [first.name, second.name, third.name]


def test_django_admin_removes_all_that_were_chosen_or_none(qa: Stage, production: Stage) -> None:
    role = Role.objects.create(name="Email of QA", permissions=[Permission.MANAGE_EMAIL_CONFIGURATIONS.value])
    role.stages.add(qa)
    kept = [keep_header(stage, "X-A", OPERATOR, typed_stage_name=stage.name) for stage in (qa, production)]
    data = {"action": "delete_selected", "_selected_action": [header.pk for header in kept], "post": "yes"}
    assert signed_in(make_member("Quinn", role, is_staff=True)).post(f"{ADMIN}", data).status_code == 403
    assert KeptHeader.objects.count() == 2


def test_the_command_shows_them_and_changes_all_or_nothing(qa: Stage) -> None:
    out = StringIO()
    call_command("stage_policy", "qa", stdout=out)
    assert "test mail keeps: no others" in out.getvalue()
    with pytest.raises(CommandError):
        call_command("stage_policy", "qa", "--keep-header", "X-A", "Bcc", stdout=StringIO())
    with pytest.raises(CommandError, match="doesn't keep X-B"):
        call_command("stage_policy", "qa", "--keep-header", "X-A", "--no-keep-header", "X-B", stdout=StringIO())
    assert not KeptHeader.objects.exists()
    out = StringIO()
    call_command("stage_policy", "qa", "--keep-header", "X-B", "X-A", "--json", stdout=out)
    assert json.loads(out.getvalue())["kept_headers"] == ["X-A", "X-B"]


def test_the_email_configuration_shows_them(as_viewer: Client, qa: Stage) -> None:
    configure(qa)
    keep_header(qa, "X-Acme-Order", OPERATOR, typed_stage_name="QA")
    page = as_viewer.get("/management/configure/emails/qa/").content.decode()
    assert "X-Acme-Order" in page
    assert PAGE in page
