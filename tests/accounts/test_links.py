"""A link to choose a password works once, for a day, and only for the account that it was made for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts.links import AccountLink, Purpose, make_link
from organization.members import change_password, save_member
from organization.models import AuditEvent, Member
from tests.support.accounts import CHOSEN, NEW_PASSWORD
from tests.support.interleaving import A_TRANSACTION_BEGINS, right_before
from tests.support.pages import words
from tests.support.portal import OPERATOR, PASSWORD, signed_in

OVER = "This link doesn't work any more"


def path_for(member: Member, purpose: Purpose = Purpose.PASSWORD_RESET) -> str:
    return urlsplit(make_link(member, purpose).url).path


def change_address(member: Member) -> None:
    member.email = "vera.v@acme.example"
    save_member(member, OPERATOR)


def deactivate_and_activate(member: Member) -> None:
    for is_active in (False, True):
        member = Member.objects.get(pk=member.pk)
        member.is_active = is_active
        save_member(member, OPERATOR)


def let_a_day_pass(member: Member) -> None:
    AccountLink.objects.update(ends=timezone.now())


def make_another_link(member: Member) -> None:
    make_link(member, Purpose.INVITATION)


def choose_another_password(member: Member) -> None:
    change_password(member, "something-else-entirely")


def test_it_works_once_however_often_it_was_opened_before(viewer: Member) -> None:
    path, client, elsewhere = path_for(viewer), Client(), signed_in(viewer)
    for _ in range(2):  # programs that scan emails open links
        page = client.get(path)
        assert viewer.email in words(page)
        assert client.head(path).status_code == 200
    assert page["Referrer-Policy"] == "strict-origin"
    assert "no-store" in page["Cache-Control"]

    assert client.post(path, {"new_password1": "short", "new_password2": "short"}).status_code == 422
    answer = client.post(path, CHOSEN)
    assert answer["Location"] == "/accounts/login/"
    assert "Your password was stored" in words(client.get("/accounts/login/"))
    assert client.get("/apps/").status_code == 302  # who has the link alone isn't signed in
    assert elsewhere.get("/apps/").status_code == 302
    assert Client().login(email=viewer.email, password=NEW_PASSWORD)

    for answer in (client.get(path), client.post(path, CHOSEN)):
        assert (answer.status_code, OVER in words(answer)) == (410, True)
    event = AuditEvent.objects.get()
    assert (event.operation, event.actor) == ("Reset password", viewer)


@pytest.mark.parametrize(
    "ends_it", [change_address, deactivate_and_activate, let_a_day_pass, make_another_link, choose_another_password]
)
def test_a_link_stops_working(viewer: Member, ends_it: Callable[[Member], None]) -> None:
    path = path_for(viewer)
    ends_it(viewer)
    assert OVER in words(Client().get(path))
    assert Client().post(path, CHOSEN).status_code == 410
    assert not Member.objects.get(pk=viewer.pk).check_password(NEW_PASSWORD)


def test_it_lasts_a_day(viewer: Member) -> None:
    link = make_link(viewer, Purpose.INVITATION)
    assert timedelta(hours=23) < link.ends - timezone.now() <= timedelta(days=1)
    assert link.url.startswith(settings.PORTAL_URL)  # never of the Host header


def test_it_is_for_one_purpose_and_of_a_real_token(viewer: Member) -> None:
    path = path_for(viewer, Purpose.PASSWORD_RESET)
    wrong = [path.replace("password-reset", "invitation"), path[:-5] + "/"]
    assert [Client().get(address).status_code for address in wrong] == [410, 410]
    assert Client().get(path).status_code == 200


def test_of_two_who_use_it_at_once_one_wins(viewer: Member) -> None:
    path = path_for(viewer)
    other = {"new_password1": "the-other-ones-phrase", "new_password2": "the-other-ones-phrase"}
    with right_before(A_TRANSACTION_BEGINS, lambda: Client().post(path, CHOSEN)):
        assert Client().post(path, other).status_code == 410
    assert Member.objects.get(pk=viewer.pk).check_password(NEW_PASSWORD)


def test_only_a_hash_is_stored(viewer: Member) -> None:
    token = make_link(viewer, Purpose.INVITATION).url.rstrip("/").rpartition("/")[2]
    assert len(token) >= 43  # 256 bits
    assert token not in str(list(AccountLink.objects.values()))
    assert viewer.password not in str(list(AccountLink.objects.values()))
    assert Member.objects.get(pk=viewer.pk).check_password(PASSWORD)
