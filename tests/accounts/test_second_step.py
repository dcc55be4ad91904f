"""Signing in with a second factor: the password alone opens nothing."""

from __future__ import annotations

import ast
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from accounts.links import Purpose, make_link
from accounts.second_factor.recovery_codes import use_recovery_code
from common.encryption import EncryptedValue
from organization.members import give_password
from organization.models import AuditEvent, Member
from tests.support.accounts import CHOSEN, NEW_PASSWORD
from tests.support.interleaving import right_before
from tests.support.pages import words
from tests.support.portal import OPERATOR, ROOT, make_member
from tests.support.second_factor import CHALLENGE, LOGIN, OVERVIEW, first_factor, give_app, give_codes, is_signed_in, next_code

pytestmark = pytest.mark.django_db

WRONG = "000000"


def test_a_code_of_the_app_completes_the_sign_in_and_leads_where_the_member_was_going(viewer: Member) -> None:
    totp = give_app(viewer)
    client = first_factor(viewer, next_url="/apps/?q=crm")
    answer = client.post(CHALLENGE, {"code": f"{totp.now()[:3]} {totp.now()[3:]}"})
    assert answer["Location"] == "/apps/?q=crm"
    assert is_signed_in(client)


def test_after_the_password_alone_nothing_opens(viewer: Member) -> None:
    give_app(viewer)
    client = first_factor(viewer)
    for page in ("/", "/apps/", "/accounts/profile/", OVERVIEW, "/admin/", "/management/configure/emails/"):
        assert client.get(page)["Location"].startswith((LOGIN, "/admin/login/")), page
    assert client.get(CHALLENGE).status_code == 200


def test_the_first_step_gets_a_session_key_of_its_own_and_ends_another_members_session(viewer: Member) -> None:
    give_app(viewer)
    client = Client()
    client.force_login(make_member("Nora"))
    before = client.session.session_key
    client.post(LOGIN, {"username": viewer.email, "password": "correct-horse-battery"})
    assert client.session.session_key != before
    assert not is_signed_in(client)


def test_a_code_works_once(viewer: Member) -> None:
    totp = give_app(viewer)
    code = totp.now()
    assert first_factor(viewer).post(CHALLENGE, {"code": code}).status_code == 302
    again = first_factor(viewer)
    assert "This code was used already" in words(again.post(CHALLENGE, {"code": code}))
    assert not is_signed_in(again)
    assert again.post(CHALLENGE, {"code": next_code(totp)}).status_code == 302


def test_of_two_browsers_with_one_code_at_the_same_moment_one_gets_in(viewer: Member) -> None:
    code = give_app(viewer).now()
    here, there = first_factor(viewer), first_factor(viewer)
    with right_before('UPDATE "accounts_authenticatorapp"', lambda: there.post(CHALLENGE, {"code": code})):
        here.post(CHALLENGE, {"code": code})
    assert (is_signed_in(here), is_signed_in(there)) == (False, True)


@pytest.mark.parametrize(("steps", "works"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_differ_by_one_step(viewer: Member, steps: int, works: bool) -> None:
    totp = give_app(viewer)
    with time_machine.travel(1_700_000_010, tick=False):
        answer = first_factor(viewer).post(CHALLENGE, {"code": totp.at(1_700_000_010 + 30 * steps)})
    assert answer.status_code == (302 if works else 422)


def test_five_wrong_codes_end_the_sign_in(viewer: Member) -> None:
    totp = give_app(viewer)
    client = first_factor(viewer)
    assert [client.post(CHALLENGE, {"code": WRONG}).status_code for _ in range(5)] == [422, 422, 422, 422, 302]
    assert client.post(CHALLENGE, {"code": totp.now()})["Location"] == LOGIN
    assert not is_signed_in(client)


def test_one_who_knows_the_password_cannot_begin_again_and_again(viewer: Member) -> None:
    """Whatever address they come from."""
    totp = give_app(viewer)
    assert {first_factor(viewer).post(CHALLENGE, {"code": WRONG}).status_code for _ in range(5)} == {422}
    client = first_factor(viewer)
    answer = client.post(CHALLENGE, {"code": totp.now()}, REMOTE_ADDR="198.51.100.7")
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0
    assert not is_signed_in(client)


def test_the_second_step_is_open_for_five_minutes(viewer: Member) -> None:
    totp = give_app(viewer)
    client = first_factor(viewer)
    with time_machine.travel(timezone.now() + timedelta(minutes=5)):
        answer = client.post(CHALLENGE, {"code": totp.now()}, follow=True)
    assert "Your sign-in has expired" in words(answer)
    assert not is_signed_in(client)


@pytest.mark.parametrize("typed", [{}, {"code": ""}, {"code": "12345"}, {"code": "\0"}, {"recovery_code": "?"}, {"passkey": "{"}])
def test_an_invalid_code_gets_an_error(viewer: Member, typed: dict[str, str]) -> None:
    give_app(viewer)
    assert first_factor(viewer).post(CHALLENGE, typed).status_code == 422


def test_a_recovery_code_works_once_however_it_is_typed(viewer: Member) -> None:
    give_app(viewer)
    code = give_codes(viewer)[0]
    client = first_factor(viewer)
    answer = client.post(CHALLENGE, {"recovery_code": code.lower().replace("-", " ")}, follow=True)
    assert "You have 9 recovery codes left." in words(answer)
    event = AuditEvent.objects.get(operation="Use recovery code")
    assert (event.actor, event.after) == (viewer, {"left": 9})
    again = first_factor(viewer)
    assert again.post(CHALLENGE, {"recovery_code": code}).status_code == 422
    assert not is_signed_in(again)


def test_of_two_browsers_with_one_recovery_code_at_the_same_moment_one_gets_in(viewer: Member) -> None:
    give_app(viewer)
    code = give_codes(viewer)[0]
    here, there = first_factor(viewer), first_factor(viewer)
    with right_before('UPDATE "accounts_recoverycode"', lambda: there.post(CHALLENGE, {"recovery_code": code})):
        here.post(CHALLENGE, {"recovery_code": code})
    assert (is_signed_in(here), is_signed_in(there)) == (False, True)
    assert AuditEvent.objects.filter(operation="Use recovery code").count() == 1


def test_another_members_recovery_code_is_of_no_use(viewer: Member, developer: Member) -> None:
    give_app(viewer)
    code = give_codes(developer)[0]
    assert first_factor(viewer).post(CHALLENGE, {"recovery_code": code}).status_code == 422


def test_few_recovery_codes_are_warned_about(viewer: Member) -> None:
    give_app(viewer)
    codes = give_codes(viewer)
    for code in codes[:7]:
        use_recovery_code(viewer, code)
    answer = first_factor(viewer).post(CHALLENGE, {"recovery_code": codes[7]}, follow=True)
    assert "You have 2 recovery codes left. Make new ones: Profile, Second factor." in words(answer)


def test_a_new_password_does_not_skip_the_second_factor_and_ends_a_sign_in_from_before(viewer: Member) -> None:
    totp = give_app(viewer)
    before = first_factor(viewer)
    give_password(viewer, "another-long-phrase", OPERATOR)
    assert before.post(CHALLENGE, {"code": totp.now()})["Location"] == LOGIN
    after = first_factor(viewer, "another-long-phrase")
    assert not is_signed_in(after)
    assert after.post(CHALLENGE, {"code": totp.now()}).status_code == 302
    assert is_signed_in(after)


def test_a_link_for_a_new_password_does_not_skip_the_second_factor(viewer: Member) -> None:
    give_app(viewer)
    path = urlsplit(make_link(viewer, Purpose.PASSWORD_RESET).url).path
    client = Client()
    assert client.post(path, CHOSEN)["Location"] == LOGIN
    assert not is_signed_in(client)
    assert not is_signed_in(first_factor(viewer, NEW_PASSWORD))


def test_a_deactivated_member_does_not_complete_the_sign_in(viewer: Member) -> None:
    totp = give_app(viewer)
    client = first_factor(viewer)
    Member.objects.filter(pk=viewer.pk).update(is_active=False)
    assert client.post(CHALLENGE, {"code": totp.now()})["Location"] == LOGIN


def test_without_the_key_of_the_secret_the_member_is_told_and_a_recovery_code_works(viewer: Member) -> None:
    give_app(viewer)
    code = give_codes(viewer)[0]
    viewer.authenticator_app.secret = EncryptedValue("not encrypted with a key that is known")
    viewer.authenticator_app.save()
    client = first_factor(viewer)
    assert "can't check codes of your app now" in words(client.post(CHALLENGE, {"code": WRONG}))
    assert client.post(CHALLENGE, {"recovery_code": code}).status_code == 302


def test_one_place_opens_sessions() -> None:
    """So that no way of signing in goes round the second factor: `login()` of Django is called in completion.py alone."""
    callers = []
    for path in sorted(ROOT.glob("*/**/*.py")):
        if path.relative_to(ROOT).parts[0] in ("tests", "tools", ".venv"):
            continue
        calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        names = {getattr(function, "id", getattr(function, "attr", "")) for function in calls}
        if names & {"login", "alogin", "auth_login", "force_login"}:
            callers.append(path.relative_to(ROOT).as_posix())
    assert callers == ["accounts/sign_in/completion.py"]
