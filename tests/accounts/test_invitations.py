"""A member is added by an invitation, through which they choose their password. Nobody else ever knows it."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from organization.members import create_member
from organization.models import AuditEvent, Member, Stage
from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from outbox.models import Message
from tests.support.accounts import CHOSEN, NEW_PASSWORD, emailed_path, own_messages, path_in, text_of
from tests.support.pages import message_text, words
from tests.support.portal import OPERATOR, make_member

MEMBERS = "/management/govern/members/"
NEW = MEMBERS + "new/"
MIA = {"email": "mia@ACME.example", "name": "Mia"}
IN_ADMIN = {**MIA, "is_active": "on", "theme": "system", "time_zone": "UTC"}
ADMIN_ADD = "/admin/organization/member/add/"


def mia() -> Member:
    return Member.objects.get(name="Mia")


def test_from_the_list_of_members_to_the_first_sign_in(as_administrator: Client, portal_stage: Stage) -> None:
    assert f'href="{NEW}"' in words(as_administrator.get(MEMBERS))  # 1: Invite member
    answer = as_administrator.post(NEW, MIA, follow=True)  # 2: Invite
    assert "An email with the invitation is on its way to mia@acme.example." in message_text(answer)
    page = words(answer)
    assert "Invited" in page and "Invite again" in page
    assert [member.name for member in as_administrator.get(MEMBERS + "?state=invited").context["page"]] == ["Mia"]

    text = text_of(own_messages(mia())[0])
    assert "Hello Mia" in text and "mia@acme.example" in text
    visitor, path = Client(), emailed_path(mia())
    assert "Welcome, Mia" in words(visitor.get(path))
    visitor.post(path, CHOSEN)
    assert visitor.post("/accounts/login/", {"username": "mia@acme.example", "password": NEW_PASSWORD}).status_code == 302
    assert visitor.get("/apps/").status_code == 200
    assert not mia().is_invited
    operations = AuditEvent.objects.filter(entity="member").order_by("pk").values_list("operation", "actor_name")
    assert [operation for operation, _ in operations] == ["Create", "Invite", "Accept invitation", "Sign in"]
    assert operations[2][1] == "Mia <mia@acme.example>"


@pytest.mark.parametrize(("field", "bad"), [("email", "rubbish"), ("name", ""), ("__all__", "")])
def test_what_is_wrong_is_said_at_its_field(as_administrator: Client, portal_stage: Stage, field: str, bad: str) -> None:
    typed = {**MIA, "email": "ADA.admin@acme.example"} if field == "__all__" else {**MIA, field: bad}  # there is such a member
    answer = as_administrator.post(NEW, typed)
    assert (answer.status_code, set(answer.context["form"].errors)) == (422, {field})
    assert not Message.objects.exists()


def no_stage(stage: Stage, settings: Settings) -> None:
    settings.PORTAL_STAGE = ""


def unknown_stage(stage: Stage, settings: Settings) -> None:
    settings.PORTAL_STAGE = "mars"


def archived(stage: Stage, settings: Settings) -> None:
    Stage.objects.filter(pk=stage.pk).update(archived=True)


def without_settings(stage: Stage, settings: Settings) -> None:
    stage.smtp_settings.delete()


def captures_all(stage: Stage, settings: Settings) -> None:
    change_policy(stage, RecipientPolicy.NOBODY, OPERATOR)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (no_stage, "PORTAL_STAGE is empty"),
        (unknown_stage, "no such stage"),
        (archived, "is archived"),
        (without_settings, "has no SMTP settings"),
        (captures_all, "captures all email"),
    ],
)
def test_where_no_email_can_be_sent_the_link_is_shown_once_to_its_maker(
    as_administrator: Client, portal_stage: Stage, settings: Settings, change: object, why: str
) -> None:
    change(portal_stage, settings)  # type: ignore[operator]
    assert why in words(as_administrator.get(NEW))
    answer = as_administrator.post(NEW, MIA)
    assert why in words(answer)
    path = path_in(words(answer))
    assert path not in words(as_administrator.get(f"{MEMBERS}{mia().pk}/"))
    assert not Message.objects.exists()
    assert Client().post(path, CHOSEN).status_code == 302
    assert mia().check_password(NEW_PASSWORD)


def test_django_admin_invites_too(as_administrator: Client, portal_stage: Stage, settings: Settings) -> None:
    assert "new_password" not in words(as_administrator.get(ADMIN_ADD))
    assert as_administrator.post(ADMIN_ADD, IN_ADMIN)["Location"] == f"{MEMBERS}{mia().pk}/"
    assert Client().get(emailed_path(mia())).status_code == 200
    settings.PORTAL_STAGE = ""
    answer = as_administrator.post(ADMIN_ADD, {**IN_ADMIN, "email": "noa@acme.example", "name": "Noa"})
    assert Client().get(path_in(words(answer))).status_code == 200


def test_createsuperuser_without_a_password_invites(portal_stage: Stage, settings: Settings) -> None:
    def create(email: str) -> str:
        output = StringIO()
        call_command("createsuperuser", "--noinput", "--email", email, "--name", "Root", stdout=output)
        return output.getvalue()

    assert "An email with it is on its way to root@acme.example." in create("root@acme.example")
    assert Client().get(emailed_path(Member.objects.get())).status_code == 200
    settings.PORTAL_STAGE = ""
    assert Client().get(path_in(create("second@acme.example"))).status_code == 200


def test_no_service_stores_a_member_without_password_and_invitation(db: None) -> None:
    with pytest.raises(ValidationError, match="needs a password, or an invitation"):
        create_member(Member(email="mia@acme.example", name="Mia"), OPERATOR)
    assert not Member.objects.exists()


def test_an_invitation_is_sent_again_and_the_first_one_ends(as_administrator: Client, portal_stage: Stage) -> None:
    as_administrator.post(NEW, MIA)
    first, link = emailed_path(mia()), f"{MEMBERS}{mia().pk}/link/"
    page = words(as_administrator.get(link))
    assert "Send Mia another invitation?" in page and "It still works" in page
    assert "on its way" in message_text(as_administrator.post(link, follow=True))
    assert Client().get(first).status_code == 410
    assert Client().get(emailed_path(mia())).status_code == 200


def test_an_administrator_sends_a_link_for_a_new_password(as_administrator: Client, portal_stage: Stage, viewer: Member) -> None:
    link = f"{MEMBERS}{viewer.pk}/link/"
    assert link in words(as_administrator.get(f"{MEMBERS}{viewer.pk}/"))
    assert "for a new password?" in words(as_administrator.get(link))
    as_administrator.post(link)
    assert re.fullmatch("/accounts/password-reset/[^/]+/", emailed_path(viewer))
    event = AuditEvent.objects.get(operation="Request password reset")
    assert (event.actor_name, event.after["handed_over"]) == ("Ada Admin <ada.admin@acme.example>", "by email")
    gone = make_member("Gone", is_active=False)
    answer = as_administrator.post(f"{MEMBERS}{gone.pk}/link/")
    assert (answer.status_code, "Activate the member first" in words(answer)) == (422, True)
    assert as_administrator.post(f"{MEMBERS}999/link/").status_code == 404
