"""Actions on many emails: what a preview says, what is done, who may, and what is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from emaillog.bulk import carry_out
from emaillog.bulk.service import Request, plan, start, stop
from emaillog.models import BulkAction
from organization.access import Scope
from organization.models import AuditEvent, Role, RoleGrant
from organization.permissions import Permission
from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from outbox.bulk.checks import Act, is_one_time_code
from outbox.holding.pauses import pause
from outbox.models import Content, Message, Recipient, Status
from tests.support.emaillog import named
from tests.support.outbox import deliver, now_due, send, set_list, statuses
from tests.support.pages import words
from tests.support.portal import OPERATOR, configure, make_member, signed_in
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)
NEW = "/monitor/emails/actions/new/"


@pytest.fixture
def server(qa):
    with SmtpServer(pipelining=True) as server:
        configure(qa, server, from_domains="*")
        yield server


def reached(server) -> list[str]:
    return sorted(address for arrival in server.arrived for address in arrival.recipients)


def carry_out_all() -> None:
    while BulkAction.objects.filter(state="running").exists():
        carry_out.carry_out_all()


def failed(crm, qa, server, *to: str) -> Message:
    """An email that its server refused for all but those named ok."""
    server.rcpt = lambda address: None if address.startswith("ok") else "550 5.1.1 no such user"
    message = send(crm, qa, *to)
    deliver()
    server.rcpt = lambda _: None
    return message


def changes(request: Request, actor) -> dict[str, tuple[int, int]]:
    """What the preview says: by rule, emails and recipients."""
    targets = plan(request, actor).preview.targets
    return {target.rule: (count.emails, count.recipients) for target, count in targets.items()}


def left_out(request: Request, actor) -> list[str]:
    return list(plan(request, actor).preview.left_out)


def test_only_those_who_missed_it_get_it_again(crm, qa, server, administrator):
    message = failed(crm, qa, server, "ok@x.example", "no@x.example")
    sent = send(crm, qa, "ok2@x.example")
    deliver()
    request = Request(Act.RESEND, "stage=qa")
    assert changes(request, administrator) == {"Recipient that the app gave": (1, 1)}
    assert left_out(request, administrator) == ["Nobody missed it: no recipient failed."]
    action = start(request, administrator)
    carry_out_all()
    deliver()
    assert reached(server) == ["no@x.example", "ok2@x.example", "ok@x.example"]
    again = Message.objects.get(resent_from=message.pk)
    assert again.requested == ["no@x.example"]
    assert not Message.objects.filter(resent_from=sent.pk)
    action.refresh_from_db()
    assert (action.state, action.done, action.percent) == ("finished", 1, 100)
    (entry,) = AuditEvent.objects.filter(operation="Resend")
    assert (entry.actor, entry.stage, entry.after["filter"], entry.after["emails"]) == (administrator, qa, "stage=qa", 2)


def test_a_second_run_resends_nothing_twice_and_a_resend_of_a_resend_knows_who_got_it(crm, qa, server, administrator):
    message = failed(crm, qa, server, "ok@x.example", "no@x.example")
    start(Request(Act.RESEND, "status=failed"), administrator)
    carry_out_all()
    server.rcpt = lambda _: "550 5.1.1 still not"
    deliver()
    server.rcpt = lambda _: None
    request = Request(Act.RESEND, "status=failed")
    assert left_out(request, administrator) == ["It was resent already."]
    start(request, administrator)
    carry_out_all()
    deliver()
    assert reached(server) == ["no@x.example", "ok@x.example"]
    assert Message.objects.filter(resent_from=message.pk).count() == 1


def test_test_mail_goes_again_to_those_on_the_list_who_missed_it(crm, qa, server, administrator):
    set_list(crm, qa, "ok@acme.example", "no@acme.example")
    failed(crm, qa, server, "customer@x.example")
    start(Request(Act.RESEND, "status=failed"), administrator)
    carry_out_all()
    deliver()
    assert reached(server) == ["no@acme.example", "ok@acme.example"]


def test_everybody_gets_it_again_if_a_person_says_so(crm, qa, server, administrator):
    failed(crm, qa, server, "ok@x.example", "no@x.example")
    start(Request(Act.RESEND, "status=failed", everybody=True), administrator)
    carry_out_all()
    deliver()
    assert reached(server) == ["no@x.example", "ok@x.example", "ok@x.example"]


@pytest.mark.parametrize(
    ("subject", "is_code"),
    [
        ("Your verification code is 123456", True),
        ("Reset your password", True),
        ("Sign-in link for Acme", True),
        ("Invoice 42", False),
        ("Code of conduct", False),
    ],
)
def test_one_time_codes_are_known_by_their_subject(subject, is_code):
    assert is_one_time_code(subject) == is_code


def test_old_one_time_codes_are_left_out_unless_a_person_wants_them(crm, qa, server, administrator):
    for subject, minutes in (("Your verification code", 60), ("Your verification code", 1), ("Invoice", 60)):
        created = timezone.now() - timedelta(minutes=minutes)
        message = named(crm, qa, subject, status="failed", created=created)
        Recipient.objects.filter(message=message).update(status="failed")
    request = Request(Act.RESEND, "status=failed")
    assert plan(request, administrator).preview.changed == 2
    assert left_out(request, administrator) == ["It looks like a one-time code or link, and is too old to be of use."]
    assert plan(Request(Act.RESEND, "status=failed", codes_minutes=None), administrator).preview.changed == 3


def test_an_email_without_content_is_left_out(crm, qa, server, administrator):
    message = failed(crm, qa, server, "no@x.example")
    Content.objects.filter(message=message).delete()
    request = Request(Act.RESEND, "status=failed")
    assert left_out(request, administrator) == ["Its content isn't kept any more."]
    with pytest.raises(ValidationError, match="no email that this would change"):
        start(request, administrator)
    assert not BulkAction.objects.exists()


def test_retry_makes_all_that_waits_due(crm, qa, server, administrator):
    server.rcpt = lambda _: "451 4.7.1 later"
    for number in range(3):
        send(crm, qa, f"a{number}@x.example")
    deliver()
    server.rcpt = lambda _: None
    assert changes(Request(Act.RETRY, "status=deferred"), administrator) == {"Recipient that the app gave": (3, 3)}
    start(Request(Act.RETRY, "status=deferred"), administrator)
    carry_out_all()
    deliver()
    assert reached(server) == ["a0@x.example", "a1@x.example", "a2@x.example"]


def test_cancel_ends_what_waits_in_the_persons_words(crm, qa, server, administrator):
    server.rcpt = lambda address: "451 4.7.1 later" if address.startswith("late") else None
    message = send(crm, qa, "early@x.example", "late@x.example")
    deliver()
    action = start(Request(Act.CANCEL, "numbers=" + str(message.pk), reason="Sent by mistake"), administrator)
    carry_out_all()
    now_due()
    deliver()
    assert statuses(message) == {"early@x.example": "sent", "late@x.example": "failed"}
    words = f"Cancelled by {administrator.name}: Sent by mistake"
    assert message.recipients.get(address="late@x.example").last_reply == words
    message.refresh_from_db()
    assert (message.status, message.notes[-1], action.words) == (Status.FAILED, words, words)


def test_held_mail_is_released_under_what_is_in_force_now(crm, shop, qa, server, administrator):
    pause(Scope(None, qa), "Duplicates", OPERATOR)
    messages = [send(app, qa, "customer@x.example") for app in (crm, shop)]
    request = Request(Act.RELEASE, "status=held")
    assert left_out(request, administrator) == ["A person paused the emails. Resume them first."]
    qa.pauses.all().delete()
    change_policy(qa, RecipientPolicy.LISTED_ONLY, OPERATOR)
    set_list(crm, qa, "tess@acme.example")
    assert changes(request, administrator) == {"Test list": (1, 1), "Captured": (1, 1)}
    start(request, administrator)
    carry_out_all()
    deliver()
    assert reached(server) == ["tess@acme.example"]
    assert Message.objects.get(pk=messages[1].pk).status == Status.CAPTURED


def test_discard_ends_held_mail_alone(crm, qa, production, server, administrator):
    held, queued = send(crm, production, "a@x.example"), send(crm, qa, "b@x.example")
    assert left_out(Request(Act.DISCARD, ""), administrator) == ["The email isn't held."]
    with pytest.raises(ValidationError, match="Type “Production”"):
        start(Request(Act.DISCARD, "status=held"), administrator)
    start(Request(Act.DISCARD, "", reason="Old"), administrator, typed_stage_name="Production")
    carry_out_all()
    assert (statuses(held), statuses(queued)) == ({"a@x.example": "failed"}, {"b@x.example": "queued"})


def test_a_member_changes_only_what_they_may(crm, shop, qa, server, developer):
    """The developer of one app; and their right is asked again while the action runs."""
    own, other = (failed(app, qa, server, "no@x.example") for app in (crm, shop))
    start(Request(Act.RESEND, "status=failed"), developer)
    carry_out_all()
    assert Message.objects.filter(resent_from__in=[own.pk, other.pk]).count() == 1
    failed(crm, qa, server, "no@x.example")
    action = start(Request(Act.RESEND, "status=failed"), developer)
    RoleGrant.objects.filter(member=developer).delete()
    carry_out_all()
    action.refresh_from_db()
    assert (action.state, action.done) == ("stopped", 0)
    assert "permission" in action.ended_by


def test_a_right_to_see_is_no_right_to_act(crm, qa, server, production):
    role = Role.objects.create(
        name="Logs, and resends in QA", permissions=[Permission.ACCESS_ASSET_LOGS.value, Permission.ACCESS_USER_INFORMATION.value]
    )
    resends = Role.objects.create(name="Resends", permissions=[Permission.RESEND_MAIL.value])
    resends.stages.add(production)
    member = make_member("Pia", role)
    RoleGrant.objects.create(member=member, role=resends)
    failed(crm, qa, server, "no@x.example")
    assert left_out(Request(Act.RESEND, ""), member) == ["You don't have the permission for emails of this app in this stage."]


def test_nothing_is_resent_while_the_queue_is_full_and_what_is_left_can_be_stopped(crm, qa, server, administrator, monkeypatch):
    monkeypatch.setattr(carry_out, "QUEUED_AT_MOST", 2)
    for number in range(5):
        failed(crm, qa, server, f"no{number}@x.example")
    action = start(Request(Act.RESEND, "status=failed"), administrator)
    carry_out.carry_out_all()
    action.refresh_from_db()
    assert (action.done, action.state) == (2, "running")
    deliver()
    carry_out.carry_out_all()
    assert stop(action, administrator)
    assert not stop(action, administrator)
    carry_out.carry_out_all()
    deliver()
    assert reached(server) == ["no0@x.example", "no1@x.example", "no2@x.example", "no3@x.example"]


def test_what_comes_in_after_the_preview_is_not_part_of_it(crm, qa, server, administrator):
    failed(crm, qa, server, "no1@x.example")
    up_to = plan(Request(Act.RESEND, "status=failed"), administrator).up_to
    failed(crm, qa, server, "no2@x.example")
    start(Request(Act.RESEND, "status=failed", up_to=up_to), administrator)
    carry_out_all()
    assert Message.objects.exclude(resent_from=None).count() == 1


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("status=unknown", "Status"),
        ("stage=nowhere", "Stage"),
        ("colour=red", "no filter “colour”"),
        ("range=custom&start=nonsense", "From"),
        ("numbers=1,x", "numbers of emails"),
    ],
)
def test_a_query_that_makes_no_sense_changes_nothing(crm, qa, server, administrator, query, says):
    with pytest.raises(ValidationError, match=says):
        start(Request(Act.CANCEL, query), administrator)
    with pytest.raises(CommandError, match=says):
        call_command("messages", "cancel", "--filter", query)
    assert not BulkAction.objects.exists()


def test_a_filter_that_a_member_may_not_use_is_refused_and_not_left_out(crm, qa, server, viewer):
    with pytest.raises(ValidationError, match="Access user information"):
        plan(Request(Act.CANCEL, "recipient=ana"), viewer)


def test_several_production_stages_are_refused_together(crm, production, administrator, server):
    from tests.support.portal import make_stage

    other = make_stage("live-us", "Live US", kind="production")
    for stage in (production, other):
        send(crm, stage)
    with pytest.raises(ValidationError, match="several Production stages"):
        start(Request(Act.CANCEL, "status=held"), administrator, typed_stage_name="Production")


# In the browser


def test_the_page_previews_starts_shows_progress_and_stops(as_administrator, administrator, crm, qa, server):
    message = failed(crm, qa, server, "no@x.example")
    page = words(as_administrator.get(NEW, {"act": "resend", "status": "failed", "stage": "qa", "all": "1"}))
    assert "Recipient that the app gave" in page
    assert "manage.py messages resend --filter 'status=failed&stage=qa' --codes-minutes 15" in page.replace(
        "stage=qa&status=failed", "status=failed&stage=qa"
    )
    answer = as_administrator.post(f"{NEW}?act=resend&number={message.pk}", {"to": "missing", "codes_minutes": "15"})
    action = BulkAction.objects.get()
    assert (answer["Location"], action.query) == (f"/monitor/emails/actions/{action.pk}/", f"numbers={message.pk}")
    assert "0 of 1 email done" in words(as_administrator.get(answer["Location"]))
    assert "Stopped" in words(as_administrator.post(f"{answer['Location']}stop/", follow=True))
    assert "It has ended already" in words(as_administrator.post(f"{answer['Location']}stop/", follow=True))
    assert "Resend" in words(as_administrator.get("/monitor/emails/actions/"))


def test_production_takes_its_name_on_the_page(as_administrator, crm, production, server):
    message = send(crm, production)
    url = f"{NEW}?act=cancel&number={message.pk}"
    assert "can't be undone" in words(as_administrator.get(url))
    refused = as_administrator.post(url, {"reason": "Old", "stage_name": "production"})
    assert (refused.status_code, "Type “Production”" in words(refused)) == (422, True)
    assert not BulkAction.objects.exists()
    as_administrator.post(url, {"reason": "Old", "stage_name": "Production"})
    assert BulkAction.objects.get().act == "cancel"


def test_an_action_that_changes_nothing_says_why_and_asks_nothing(as_administrator, crm, qa, server):
    message = failed(crm, qa, server, "no@x.example")
    page = words(as_administrator.get(f"{NEW}?act=cancel&number={message.pk}"))
    assert "Nothing would change" in page
    assert "1 email: The email is finished: no recipient waits any more." in page
    assert f'href="/monitor/email-log/?numbers={message.pk}">Back to the log' in page
    assert "can't be undone" not in page
    assert 'name="reason"' not in page


@pytest.mark.parametrize(
    ("address", "status"),
    [
        (f"{NEW}?act=explode", 404),
        (f"{NEW}?act=resend&to=missing&codes_minutes=x", 422),
        (f"{NEW}?act=resend&number=x", 302),
        (f"{NEW}?act=resend&status=nonsense&all=1", 302),
        ("/monitor/emails/actions/999/", 404),
        ("/monitor/emails/999/", 404),
    ],
)
def test_bad_input_is_an_answer_and_no_error(as_administrator, address, status, qa):
    assert as_administrator.get(address).status_code == status


def test_an_action_of_another_is_shown_to_who_may_resend_everywhere_alone(
    as_administrator, as_developer, administrator, developer, crm, qa, server
):
    failed(crm, qa, server, "no@x.example")
    action = start(Request(Act.RESEND, "status=failed"), administrator)
    address = f"/monitor/emails/actions/{action.pk}/"
    assert as_developer.get(address).status_code == 404
    assert as_developer.post(f"{address}stop/").status_code == 404
    assert f"/{action.pk}/" not in as_developer.get("/monitor/emails/actions/").content.decode()
    with pytest.raises(PermissionDenied):
        stop(action, developer)
    assert as_administrator.get(address).status_code == 200
    assert as_administrator.get(f"{address}stop/").status_code == 405


def test_nobody_acts_without_the_permission(as_viewer, crm, qa, server):
    failed(crm, qa, server, "no@x.example")
    assert as_viewer.get(f"{NEW}?act=resend&all=1").status_code == 403
    assert 'name="number"' not in as_viewer.get("/monitor/email-log/").content.decode()
    assert signed_in(make_member("Nora")).get(f"{NEW}?act=resend&all=1").status_code == 403


# As a command


def test_the_command_says_what_it_does_and_with_dry_run_does_nothing(crm, qa, server, capsys):
    failed(crm, qa, server, "ok@x.example", "no@x.example")
    call_command("messages", "resend", "--filter", "stage=qa&status=failed", "--dry-run")
    said = capsys.readouterr().out
    assert "1 emails match, 1 would be changed." in said
    assert "QA: Recipient that the app gave: 1 emails, 1 recipients" in said
    assert not BulkAction.objects.exists()
    call_command("messages", "resend", "--filter", "stage=qa&status=failed")
    carry_out_all()
    deliver()
    assert reached(server) == ["no@x.example", "ok@x.example"]


def test_the_command_ends_production_mail_only_if_the_filter_names_the_stage(crm, production):
    message = send(crm, production)
    with pytest.raises(CommandError, match="stage_name"):
        call_command("messages", "discard", "--filter", "status=held")
    call_command("messages", "discard", "--filter", "status=held&stage=production", "--reason", "Old")
    carry_out_all()
    assert Message.objects.get(pk=message.pk).status == Status.FAILED
