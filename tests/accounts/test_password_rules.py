from __future__ import annotations

from io import StringIO
from urllib.parse import urlsplit

import pytest
from django.conf import LazySettings
from django.contrib.auth.hashers import PBKDF2PasswordHasher, make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.links import Purpose, make_link
from organization.models import Member
from portal import settings as shipped
from tests.support.portal import PASSWORD, signed_in

WEAK = "summersummer"
ANOTHER = "another-long-phrase"


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("aaaaaaaaaaaaaa", "repeats"),
        ("abcabcabcabc1", "repeats"),
        ("SummerSummer", "repeats"),
        ("horse-horse-ho", "repeats"),
        ("1qaz2wsx3edc4rfv", "too common"),
        ("918273645546372819", "entirely numeric"),
        ("short-one", "too short"),
        ("vera.viewer@acme", "too similar"),
        ("Acme-Email-Portal", "only names the portal"),
        ("acmepassword2026", "only names the portal"),
        ("ÀcmeFruit.portal7", "only names the portal"),
        (PASSWORD, "current password"),
    ],
)
def test_a_weak_password_is_refused_with_its_reason(viewer: Member, settings: LazySettings, password: str, says: str) -> None:
    settings.ORGANIZATION_NAME = "Acme & Àcmefruit Co"
    with pytest.raises(ValidationError, match=says):
        validate_password(password, viewer)


@pytest.mark.parametrize(
    "password",
    [ANOTHER, "Zwölf Boxkämpfer", "horse horse battery", "tr0ub4dor&3-x", "portal-of-cheese", "battery staple " * 9 + "!"],
)
def test_a_long_password_of_several_words_is_taken(viewer: Member, password: str) -> None:
    validate_password(password, viewer)
    validate_password(password)
    validate_password(password, Member(email="mia@acme.example", name="Mia"))


def test_every_entry_point_refuses_a_weak_password(
    viewer: Member, administrator: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"old_password": PASSWORD, "new_password1": WEAK, "new_password2": WEAK}
    link = urlsplit(make_link(viewer, Purpose.PASSWORD_RESET).url).path
    for client, url in (
        (signed_in(viewer), "/accounts/password/"),
        (Client(), link),
    ):
        assert "repeats the same few characters" in client.post(url, chosen).content.decode(), url
    monkeypatch.setattr("getpass.getpass", lambda _: WEAK)
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", WEAK)
    for command in (["changepassword", viewer.email], ["createsuperuser", "--noinput", "--email=r@acme.example", "--name=R"]):
        with pytest.raises(CommandError, match="repeats the same few characters"):
            call_command(*command, stdout=StringIO())
    assert Member.objects.count() == 2
    assert Member.objects.get(pk=viewer.pk).password == viewer.password


def test_an_old_hash_becomes_argon2_when_its_member_signs_in(viewer: Member, settings: LazySettings) -> None:
    """With the hashers that are shipped. The other tests use a quick one."""
    settings.PASSWORD_HASHERS = shipped.PASSWORD_HASHERS
    old = PBKDF2PasswordHasher().encode(PASSWORD, "some-salt-of-before-it", iterations=1000)
    Member.objects.filter(pk=viewer.pk).update(password=old)
    assert Client().post("/accounts/login/", {"username": viewer.email, "password": PASSWORD}).status_code == 302
    member = Member.objects.get(pk=viewer.pk)
    assert member.password.startswith("argon2$argon2id$")
    assert member.check_password(PASSWORD)
    assert make_password(ANOTHER).startswith("argon2$argon2id$")
