"""Guessers at the sign-in page, in Django admin, and at the form for a new password."""

from __future__ import annotations

import pytest
from django.test import Client

from organization.models import AuditEvent, FailureCount, Member
from organization.throttle import slow_hashes
from tests.support.portal import PASSWORD

LOGIN, CHANGE = "/accounts/login/", "/accounts/password/"
HERE, ELSEWHERE = "192.0.2.7", "198.51.100.7"


def sign_in(email: str, password: str = "wrong", client: Client | None = None, path: str = LOGIN, **headers: str) -> object:
    values = {"username": email, "password": password}
    return (client or Client()).post(path, values, REMOTE_ADDR=headers.pop("address", HERE), headers=headers)


def fail(email: str, times: int = 5) -> None:
    for _ in range(times):
        assert sign_in(email).status_code == 200


def test_a_guesser_is_told_at_once_how_long_to_wait(viewer: Member) -> None:
    fail(viewer.email)
    answer = sign_in(viewer.email, PASSWORD)
    assert answer.status_code == 429
    assert 0 < int(answer["Retry-After"]) <= 5
    page = answer.content.decode()
    assert f"Try again in {answer['Retry-After']} second" in page
    assert "too many failed attempts" in page
    assert f'href="{LOGIN}"' in page
    assert "_auth_user_id" not in answer.client.session


def test_the_rightful_member_gets_in_from_another_address(viewer: Member) -> None:
    fail(viewer.email)
    answer = sign_in(viewer.email, PASSWORD, address=ELSEWHERE)
    assert answer.status_code == 302
    assert "_auth_user_id" in answer.client.session


@pytest.mark.parametrize("who", ["known", "unknown", "inactive"])
def test_known_unknown_and_inactive_names_get_the_same_answers(viewer: Member, who: str) -> None:
    if who == "inactive":
        Member.objects.filter(pk=viewer.pk).update(is_active=False)
    email = "unknown@acme.example" if who == "unknown" else viewer.email
    answers = [sign_in(email, "wrong" if who == "known" else PASSWORD) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert "Please enter a correct email and password." in answers[0].content.decode()


def test_django_admin_has_the_same_door(viewer: Member) -> None:
    client = Client()
    page = client.get("/admin/", follow=True, REMOTE_ADDR=HERE)
    path = page.redirect_chain[-1][0]
    assert path.startswith(LOGIN)
    fail(viewer.email)
    assert sign_in(viewer.email, client=client, path=path).status_code == 429


def test_the_address_is_the_one_that_a_trusted_proxy_names(viewer: Member, settings: object) -> None:
    from ipaddress import ip_network

    settings.TRUSTED_PROXIES = [ip_network("10.0.0.1/32")]
    for client in ["203.0.113.1"] * 5:
        sign_in(viewer.email, address="10.0.0.1", x_forwarded_for=client)
    assert set(FailureCount.objects.values_list("network", flat=True)) == {"203.0.113.1"}
    for number in range(5):  # a stranger's header isn't believed
        sign_in(viewer.email, x_forwarded_for=f"203.0.113.{number}")
    assert sign_in(viewer.email).status_code == 429


def test_the_current_password_cannot_be_guessed_in_an_open_session(viewer: Member) -> None:
    client, new = Client(REMOTE_ADDR=HERE), "another-long-phrase"
    sign_in(viewer.email, PASSWORD, client)
    values = {"old_password": "guessed", "new_password1": new, "new_password2": new}
    answers = [client.post(CHANGE, values) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert client.post(CHANGE, {**values, "old_password": PASSWORD}).status_code == 429
    assert sign_in(viewer.email, PASSWORD).status_code == 429
    refused = AuditEvent.objects.get(operation="Change password")
    assert (refused.status, refused.actor, refused.after["failures"]) == ("refused", viewer, 1)


def test_a_guesser_is_asked_to_come_back_while_two_passwords_are_checked(viewer: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_hashes, "WAITING_WITH_FAILURES", 0)
    fail(viewer.email, 1)
    with slow_hashes.queue.turn("a", has_failures=False), slow_hashes.queue.turn("b", has_failures=False):
        answer = sign_in(viewer.email, PASSWORD)
    assert (answer.status_code, answer["Retry-After"]) == (503, "2")
    assert "Too many people are signing in" in answer.content.decode()
    assert sign_in(viewer.email, PASSWORD).status_code == 302


def test_sign_ins_and_sign_outs_are_in_the_audit_trail(viewer: Member) -> None:
    client = Client(REMOTE_ADDR=HERE)
    sign_in(viewer.email, PASSWORD, client)
    client.post("/accounts/logout/")
    signed_in, signed_out = AuditEvent.objects.order_by("pk")
    assert (signed_in.operation, signed_in.actor, signed_in.status) == ("Sign in", viewer, "succeeded")
    assert signed_in.after == {"how": "password", "address": HERE}
    assert (signed_out.operation, signed_out.actor, signed_out.after) == ("Sign out", viewer, {"address": HERE})


def test_the_audit_trails_page_finds_failed_sign_ins(viewer: Member, as_administrator: Client) -> None:
    sign_in("unknown@acme.example")
    sign_in(viewer.email)
    sign_in(viewer.email, PASSWORD)
    page = as_administrator.get("/management/view/audit-trail/?operation=Sign+in&status=refused").content.decode()
    assert page.count("Not signed in") >= 2
    assert page.count("Refused") >= 2
    assert page.count("192.0.2.7") == 2
