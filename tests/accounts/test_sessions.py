from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import MemberSession
from accounts.sessions.device import device_of
from organization.models import AuditEvent, Member
from portal.housekeeping import prune
from tests.support.pages import words
from tests.support.portal import PASSWORD, signed_in

SESSIONS = "/accounts/sessions/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def sign_in(member: Member, user_agent: str = FIREFOX, address: str = "192.0.2.7") -> Client:
    client = Client(headers={"User-Agent": user_agent}, REMOTE_ADDR=address)
    assert client.post("/accounts/login/", {"username": member.email, "password": PASSWORD}).status_code == 302
    return client


def is_signed_in(client: Client) -> bool:
    return client.get("/apps/").status_code == 200


def used(row: MemberSession, **ago: float) -> None:
    MemberSession.objects.filter(pk=row.pk).update(last_used=timezone.now() - timedelta(**ago))


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/126.0 Safari/537.36 Edg/126.0", "Edge on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.5 Safari/605.1.15", "Safari on macOS"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) CriOS/126.0 Mobile Safari/604.1", "Chrome on iPhone"),
        ("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.5.0", "curl"),
        ("<script>", "Unknown browser"),
        ("", "Unknown browser"),
    ],
)
def test_a_device_is_said_in_a_few_words(user_agent: str, device: str) -> None:
    assert device_of(user_agent) == device


def test_pages_get_the_member_itself(viewer: Member) -> None:
    """Each look at Django's lazy object takes several times as long, and a page looks hundreds of times."""
    assert type(sign_in(viewer).get("/apps/").wsgi_request.user) is Member


def test_the_page_lists_where_the_member_is_signed_in(viewer: Member, developer: Member) -> None:
    sign_in(viewer, "curl/8.5.0", "198.51.100.9")
    sign_in(developer, address="203.0.113.1")
    here = sign_in(viewer)
    page = here.get(SESSIONS)
    assert [(item.session.device, item.session.address, item.is_this_one) for item in page.context["sessions"]] == [
        ("Firefox on Linux", "192.0.2.7", True),
        ("curl", "198.51.100.9", False),
    ]
    assert here.cookies["sessionid"].value not in page.content.decode()


def test_a_session_that_is_ended_elsewhere_is_over_at_once(viewer: Member) -> None:
    here, elsewhere = sign_in(viewer), sign_in(viewer, "curl/8.5.0")
    assert is_signed_in(elsewhere)
    row = MemberSession.objects.get(device="curl")
    assert here.post(f"{SESSIONS}{row.pk}/end/")["Location"] == SESSIONS
    assert (is_signed_in(here), is_signed_in(elsewhere)) == (True, False)
    event = AuditEvent.objects.get(entity="session")
    assert (event.operation, event.before["device"], event.actor) == ("Revoke", "curl", viewer)
    own = MemberSession.objects.get()
    assert here.post(f"{SESSIONS}{own.pk}/end/")["Location"] == "/accounts/login/"
    assert not is_signed_in(here)


def test_sign_out_everywhere_ends_every_session(viewer: Member) -> None:
    here, elsewhere = sign_in(viewer), signed_in(viewer)
    assert here.post(f"{SESSIONS}end/")["Location"] == "/accounts/login/"
    assert not is_signed_in(here)
    assert not is_signed_in(elsewhere)
    assert not MemberSession.objects.exists()
    assert AuditEvent.objects.get(operation="Update").after == {"sessions_ended": 1}


def test_nobody_ends_another_members_session_but_who_manages_them(
    viewer: Member, developer: Member, as_administrator: Client, administrator: Member
) -> None:
    theirs = sign_in(viewer)
    row = MemberSession.objects.get(member=viewer)
    page = f"/management/govern/members/{viewer.pk}/sessions/"
    other = signed_in(developer)
    assert other.post(f"{SESSIONS}{row.pk}/end/").status_code == 404
    assert other.get(page).status_code == other.post(f"{page}end/").status_code == 403
    assert is_signed_in(theirs)
    assert "Firefox on Linux" in words(as_administrator.get(page))
    assert as_administrator.post(f"{page}{row.pk}/end/")["Location"] == page
    assert not is_signed_in(theirs)
    again = sign_in(viewer)
    assert as_administrator.post(f"{page}end/")["Location"] == page
    assert not is_signed_in(again)
    assert AuditEvent.objects.filter(actor=administrator, entity="session").count() == 1


def test_a_session_ends_when_it_is_not_used(viewer: Member, settings: LazySettings) -> None:
    settings.SESSION_IDLE_MINUTES = 30
    client = sign_in(viewer)
    row = MemberSession.objects.get()
    used(row, minutes=29)
    assert is_signed_in(client)
    used(row, minutes=31)
    assert not is_signed_in(client)


def test_a_session_ends_after_its_longest_life(viewer: Member, settings: LazySettings) -> None:
    settings.SESSION_MAX_HOURS = 8
    client = sign_in(viewer)
    MemberSession.objects.update(started=timezone.now() - timedelta(hours=8, minutes=1))
    assert not is_signed_in(client)


def test_the_use_is_written_once_a_minute_and_not_for_a_page_that_refreshes_itself(viewer: Member) -> None:
    client = sign_in(viewer)
    row = MemberSession.objects.get()
    used(row, seconds=50)
    with CaptureQueriesContext(connection) as queries:
        assert is_signed_in(client)
    assert not [query["sql"] for query in queries if "UPDATE" in query["sql"]]
    used(row, minutes=20)
    client.get("/apps/", headers={"Portal-Poll": "true"})
    row.refresh_from_db()
    assert timezone.now() - row.last_used > timedelta(minutes=19)
    assert is_signed_in(client)
    row.refresh_from_db()
    assert timezone.now() - row.last_used < timedelta(minutes=19)


def test_a_new_password_ends_the_other_sessions_and_keeps_this_one(viewer: Member) -> None:
    here, elsewhere = sign_in(viewer), sign_in(viewer, "curl/8.5.0")
    typed = {"old_password": PASSWORD, "new_password1": "another-long-phrase", "new_password2": "another-long-phrase"}
    assert here.post("/accounts/password/", typed).status_code == 302
    assert (is_signed_in(here), is_signed_in(elsewhere)) == (True, False)
    assert [item.session.device for item in here.get(SESSIONS).context["sessions"]] == ["Firefox on Linux"]


def test_a_session_from_before_this_page_goes_on(viewer: Member) -> None:
    client = sign_in(viewer)
    MemberSession.objects.all().delete()
    session = client.session
    del session["member_session"]
    session.save()
    assert is_signed_in(client)
    assert MemberSession.objects.get().member == viewer


def test_signing_out_and_the_nightly_job_leave_no_row(viewer: Member) -> None:
    client = sign_in(viewer)
    client.post("/accounts/logout/")
    assert not MemberSession.objects.exists()
    sign_in(viewer)
    kept = sign_in(viewer)
    first = MemberSession.objects.order_by("pk").first()
    assert first is not None
    used(first, days=2)
    Session.objects.exclude(pk=kept.session.session_key).update(expire_date=timezone.now() - timedelta(days=1))
    prune()
    assert MemberSession.objects.count() == Session.objects.count() == 1
