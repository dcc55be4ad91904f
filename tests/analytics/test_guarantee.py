"""The guarantee of a stage: who got email, by which rule, and what it can't promise."""

from __future__ import annotations

import hashlib
import json
import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from analytics import rollup
from analytics.guarantee.changes import acts
from analytics.guarantee.check import compare
from analytics.guarantee.document import canonical
from analytics.guarantee.history import LIST_ENTITY, list_activity
from analytics.guarantee.proof import prove
from analytics.guarantee.report import Guarantee, Promise, guarantee_of
from analytics.models import DailyRuleCount, HourlyCount, HourlyRuleCount, RollUpPosition, StageRuleCount
from common.clock import database_now
from organization.access import Scope
from organization.kept_headers.changes import keep_header
from organization.models import AuditEvent, Stage
from organization.recipient_policy.changes import allow, change_policy, disallow
from organization.recipient_policy.policy import RecipientPolicy
from outbox.access.visibility import LogAccess, log_access
from outbox.actions import release_held, resend_to_real_recipients, send_to_test_list
from outbox.holding.pauses import pause
from outbox.models import Attempt, HandOverCapture, Message, Recipient, RouteKind, Rule, Status
from testlists.models import TestList
from tests.support.analytics import accepted, ago, everything_counted, tried
from tests.support.guarantee import all_access, reached
from tests.support.outbox import deliver, deliver_beside, hold_the_line, send, set_list
from tests.support.pages import words
from tests.support.portal import OPERATOR, manage, manage_json, signed_in

pytestmark = pytest.mark.django_db(transaction=True)
OPEN, LISTED, NOBODY = RecipientPolicy.AS_APPS_ASK, RecipientPolicy.LISTED_ONLY, RecipientPolicy.NOBODY
DAN, ANA, REAL = "dan@allowed.example", "ana@acme.example", "real@example.com"


@pytest.fixture(autouse=True)
def _counted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "LAG", timedelta(0))


def put(stage: Stage, policy: RecipientPolicy, **options: object) -> None:
    change_policy(stage, policy, OPERATOR, typed_stage_name=stage.name, **options)  # type: ignore[arg-type]


def guarantee(stage: Stage, since: timedelta = timedelta(days=1)) -> Guarantee:
    everything_counted()
    now = database_now()
    return guarantee_of(all_access(stage), now - since, now)


def test_each_recipient_counts_by_the_rule_that_let_it_through(crm, shop, qa, configured, smtp_server):
    allow(qa, ["allowed.example"], OPERATOR, typed_stage_name=qa.name)
    send(crm, qa, REAL)  # open
    deliver()
    put(qa, LISTED)
    captured = send(crm, qa, REAL, DAN)
    deliver()
    set_list(crm, qa, ANA, "ben@acme.example")
    tested = send(crm, qa, REAL, DAN)
    deliver()
    send_to_test_list(captured, OPERATOR)
    resend_to_real_recipients(tested, OPERATOR)
    set_list(shop, qa, ANA).addresses.all().delete()
    release_held(send(shop, qa, REAL), OPERATOR)
    deliver()
    shown = guarantee(qa)
    assert reached(shown.total) == {"open": 1, "allowed": 2, "list": 2, "forwarded": 2, "released": 3}
    assert (shown.total.emails, shown.total.captured, shown.total.outside) == (6, 1, 1)
    assert sum(reached(shown.total).values()) == sum(len(arrived.recipients) for arrived in smtp_server.arrived)
    assert shown.promise == Promise.WAS_OPEN
    assert [len(shown.changes.rows), len(shown.acts.rows)] == [4, 3]
    assert all(row.fits for row in compare(shown.access, shown.since, shown.total))


def test_a_closed_stage_lets_nobody_outside_get_anything(crm, qa, configured):
    Stage.objects.filter(pk=qa.pk).update(recipient_policy=LISTED)
    send(crm, qa, REAL)
    deliver()
    shown = guarantee(qa)
    assert (shown.promise, shown.total.outside, shown.total.captured) == (Promise.HOLDS, 0, 1)
    assert shown.open_spans == []


def test_a_stage_is_open_where_an_app_can_write_to_anyone(crm, shop, qa):
    assert guarantee(qa).open_apps == [crm, shop]
    set_list(crm, qa, ANA)
    shown = guarantee(qa)
    assert (shown.promise, shown.open_apps, shown.closed_apps) == (Promise.OPEN, [shop], [crm])
    set_list(shop, qa, ANA)
    assert guarantee(qa).promise == Promise.WAS_OPEN


def test_the_page_says_when_only_test_lists_close_the_stage(crm, qa, as_administrator):
    set_list(crm, qa, ANA)
    assert "Closed by test lists alone" in words(as_administrator.get("/monitor/guarantee/qa/"))


def test_when_it_was_open_is_read_from_the_audit_trail(qa):
    begin = timezone.now()
    put(qa, LISTED)
    put(qa, OPEN, until=database_now() + timedelta(hours=1))
    put(qa, NOBODY)
    put(qa, OPEN, until=database_now() + timedelta(hours=2))
    put(qa, OPEN, until=database_now() + timedelta(hours=3))  # a new end is no new span
    Stage.objects.filter(pk=qa.pk).update(policy_until=timezone.now())
    now = timezone.now()
    last, middle, first = guarantee_of(all_access(qa), begin, now).open_spans
    changes = AuditEvent.objects.filter(operation="Change recipient policy").order_by("pk")
    assert (first.end, middle.start, middle.end, last.start) == tuple(event.at for event in changes[:4])
    assert last.end is not None and last.end <= now
    assert first.start <= begin


def test_email_on_the_wire_when_the_stage_is_closed_is_named_so(crm, qa, configured, smtp_server):
    on_the_wire, answer = hold_the_line(smtp_server)
    worker = threading.Thread(target=deliver_beside)
    message = send(crm, qa, REAL)
    worker.start()
    assert on_the_wire.wait(30)
    put(qa, LISTED)
    answer.set()
    worker.join(30)
    shown = guarantee(qa)
    assert reached(shown.total) == {"closing": 1}
    assert (shown.promise, list(shown.closing), list(shown.closed)) == (Promise.WAS_OPEN, [message.pk], [])


@pytest.mark.parametrize("outcome", ["sent", "unknown"])
def test_email_that_left_although_the_stage_was_closed_breaks_the_promise(crm, qa, outcome, as_administrator):
    put(qa, LISTED)
    message = accepted(crm, qa, timezone.now(), status=Status.SENT)
    later = timezone.now() + timedelta(seconds=30)
    attempt = tried(message, later, outcome)
    Attempt.objects.filter(pk=attempt.pk).update(rule=Rule.AS_APPS_ASK, claimed=later)
    shown = guarantee(qa)
    assert (shown.promise, list(shown.closed), shown.total.while_closed) == (Promise.BROKEN, [message.pk], 1)
    page = as_administrator.get("/monitor/guarantee/qa/")
    assert "The promise is broken" in words(page)
    assert f'href="/monitor/email-log/qa/{message.pk}/"' in page.content.decode()


def test_an_active_list_closes_its_app_until_it_expires(crm, shop, qa, production):
    for stage, expected in ((qa, "closed"), (production, "open")):  # in Production a list's end opens it again, as is usual there
        set_list(crm, stage, ANA)
        QuerySet(TestList).filter(app=crm, stage=stage).update(active_until=ago(minutes=1))  # the clock goes on
        attempt = tried(accepted(crm, stage, timezone.now()), timezone.now() + timedelta(seconds=30))
        Attempt.objects.filter(pk=attempt.pk).update(rule=Rule.AS_APPS_ASK, claimed=attempt.created)
        assert reached(guarantee(stage).total) == {expected: 1}


def test_a_recipient_who_is_on_the_list_that_catches_the_email_is_the_lists(crm, qa, configured):
    send(crm, qa, ANA)
    set_list(crm, qa, ANA)
    deliver()
    assert reached(guarantee(qa).total) == {"list": 1}


# What is captured at hand-over


@pytest.mark.parametrize("counted_before", [False, True])
def test_a_copy_that_is_captured_at_hand_over_counts_once(crm, qa, configured, counted_before):
    allow(qa, [DAN], OPERATOR, typed_stage_name=qa.name)
    send(crm, qa, REAL, DAN)
    set_list(crm, qa, ANA)
    send(crm, qa, REAL, "another@example.com")
    if counted_before:
        everything_counted()
    set_list(crm, qa, active=False)
    put(qa, NOBODY)
    deliver()
    shown = guarantee(qa)
    assert shown.total.captured == 4 == Recipient.objects.filter(status=Status.CAPTURED).count()
    assert HandOverCapture.objects.count() == 4
    assert all(row.fits for row in compare(shown.access, shown.since, shown.total))
    assert sum(HourlyCount.objects.values_list("captured", flat=True)) == 4


# After an upgrade


def test_tries_that_were_counted_before_are_counted_by_rule_afterwards(crm, qa, monkeypatch):
    monkeypatch.setattr(rollup, "ROWS_AT_ONCE", 2)
    for number, (route, rule) in enumerate(
        [(RouteKind.TEST_LIST, "list"), (RouteKind.RECIPIENTS, ""), (RouteKind.RELEASED, ""), (RouteKind.ALLOWED, "captured")]
    ):
        message = accepted(crm, qa, ago(hours=2), route=route)
        message.recipients.create(address="c@example.com", rule=rule, status=Status.SENT)
        tried(message, ago(hours=2, minutes=number))
    everything_counted()
    expected = reached(guarantee(qa).total)
    assert expected == {"list": 1, "open": 2, "released": 1}
    for model in (HourlyRuleCount, StageRuleCount, DailyRuleCount):
        model.objects.all().delete()
    RollUpPosition.objects.create(counted="rule-end", last=RollUpPosition.objects.get(counted="tries").last)
    now = database_now()
    assert guarantee_of(all_access(qa), now - timedelta(days=1), now).counted_until is not None
    assert reached(guarantee(qa).total) == expected
    assert not RollUpPosition.objects.filter(counted__in=("by-rule", "rule-end")).exists()


def test_an_upgrade_sums_up_what_was_counted_by_app(crm, shop, qa):
    for app, hours in ((crm, 30), (shop, 30), (shop, 2)):
        tried(accepted(app, qa, ago(hours=hours)), ago(hours=hours))
    everything_counted()
    expected = set(StageRuleCount.objects.values_list("stage", "hour", "rule", "recipients"))
    assert len(expected) == 2
    try:
        call_command("migrate", "analytics", "0004", verbosity=0)
    finally:
        call_command("migrate", verbosity=0)
    assert set(StageRuleCount.objects.values_list("stage", "hour", "rule", "recipients")) == expected


# The stage as a whole, and each app


def test_the_total_of_a_stage_is_that_of_its_apps(crm, shop, qa, production):
    put(qa, LISTED)
    for app, stage, hours, outcome in (
        *((crm, qa, hours, "sent") for hours in (1, 20, 40, 60)),
        *((shop, qa, 30, outcome) for outcome in ("sent", "unknown", "failed")),
        (crm, production, 20, "sent"),
    ):
        tried(accepted(app, stage, ago(hours=hours)), ago(hours=hours), outcome)
    everything_counted()
    shown = guarantee(qa, timedelta(hours=50))
    each = guarantee_of(shown.access, shown.since, shown.until, each_app=True)
    assert shown.by_app is None
    assert each.by_app is not None
    assert {app: (figures.emails, figures.outside) for app, figures in each.by_app.items()} == {crm: (3, 3), shop: (3, 1)}
    assert shown.total == each.total
    assert (shown.total.emails, shown.total.outside, shown.total.maybe_outside) == (6, 4, 1)


def test_a_member_who_sees_some_apps_gets_their_total(crm, shop, qa):
    for app in (crm, shop, shop):
        tried(accepted(app, qa, ago(hours=30)), ago(hours=30))
    everything_counted()
    crms, now = LogAccess(qa, False, False, (crm,)), database_now()
    assert guarantee_of(crms, now - timedelta(days=2), now).total.outside == 1


# The page


def test_the_page_says_what_it_cannot_promise_and_what_would_close_it(crm, qa, production, as_administrator, as_viewer):
    page = words(as_administrator.get("/monitor/guarantee/qa/"))
    assert "No promise: apps can write to anyone" in page
    assert "change who gets email" in page
    assert "Customer Relations can write to anyone" in page
    assert "You need the permission Manage Email Configurations" in words(as_viewer.get("/monitor/guarantee/qa/"))
    assert "That is what Production is for" in words(as_administrator.get("/monitor/guarantee/production/"))
    put(qa, LISTED)
    page = words(as_administrator.get("/monitor/guarantee/qa/"))
    assert "It was open for some of the time" in page
    assert "Real recipients → Lists and allowed only" in page
    assert "0</span> <span>recipients outside got email" in page


def test_who_may_not_know_addresses_sees_none(crm, shop, qa, configured, as_viewer, as_developer):
    put(qa, LISTED)
    allow(qa, [DAN], OPERATOR, typed_stage_name=qa.name)
    message = send(crm, qa, REAL)
    resend_to_real_recipients(message, OPERATOR)
    set_list(shop, qa, "eva@acme.example")
    page = words(as_viewer.get("/monitor/guarantee/qa/"))
    assert not any(address in page for address in (DAN, REAL, "eva@acme.example"))
    assert "d•••@allowed.example" in page and "r•••@example.com" in page
    page = words(as_developer.get("/monitor/guarantee/qa/"))  # of crm alone
    assert REAL in page and DAN not in page
    assert "eva@acme.example" not in page
    assert "Only apps whose log you may read are counted" in page


@pytest.mark.parametrize("query", ["since=2999-01-01", "since=yesterday", "range=1y"])
def test_a_wrong_period_is_refused_at_its_field(qa, as_administrator, query):
    for path in ("", "json/"):
        answer = as_administrator.get(f"/monitor/guarantee/qa/{path}?{query}")
        assert answer.status_code == 422
        assert "Correct the period first" in words(answer)
    assert not AuditEvent.objects.filter(operation="Export").exists()


def test_the_page_costs_the_same_however_much_there_is(crm, qa, as_administrator):
    def queries() -> int:
        everything_counted()
        with CaptureQueriesContext(connection) as captured:
            assert as_administrator.get("/monitor/guarantee/qa/").status_code == 200
        return len(captured)

    put(qa, LISTED)
    queries()
    few = queries()
    for number in range(5):
        tried(accepted(crm, qa, ago(hours=number + 1)), ago(hours=number + 1))
        put(qa, (OPEN, LISTED)[number % 2])
    put(qa, LISTED)
    assert queries() <= few


# As a document


def test_the_json_has_the_sha_256_that_the_audit_trail_keeps(crm, qa, as_administrator):
    send(crm, qa)
    everything_counted()
    document = as_administrator.get("/monitor/guarantee/qa/json/?range=7d").json()
    event = AuditEvent.objects.get(operation="Export")
    assert document["sha256"] == event.after["sha256"] == hashlib.sha256(canonical(document["guarantee"])).hexdigest()
    assert (event.stage, event.actor_name) == (qa, "Ada Admin <ada.admin@acme.example>")
    assert document["guarantee"]["promise"] == "open"
    assert document["guarantee"]["total"]["emails"] == 1
    again = json.dumps(document["guarantee"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(again.encode()).hexdigest() == document["sha256"]


def test_the_command_says_the_same(crm, qa, configured):
    put(qa, LISTED)
    send(crm, qa, REAL)
    everything_counted()
    document = manage_json("guarantee", "qa", "--since", f"{timezone.now():%Y-%m-%d}")
    assert (document["guarantee"]["total"]["outside"], document["guarantee"]["total"]["captured"]) == (0, 1)
    assert AuditEvent.objects.get(operation="Export").after["sha256"] == document["sha256"]
    shown = manage("guarantee", "qa", "--check")
    assert "0 recipients outside got email" in shown.stdout
    assert "Captured copies: 1 counted, 1 in the rows" in shown.stderr
    assert shown.returncode == 0


@pytest.mark.parametrize(("model", "option"), [(StageRuleCount, "--check"), (HourlyRuleCount, "--json")])
def test_the_check_notices_a_count_that_the_rows_do_not_have(crm, qa, model, option):
    """In the total as the page shows it, and in the sum of the apps as the JSON has it."""
    tried(accepted(crm, qa, ago(minutes=5)), ago(minutes=5))
    everything_counted()
    model.objects.update(recipients=2)
    with pytest.raises(CommandError, match="differ"):
        call_command("guarantee", "qa", "--since", ago(hours=1).isoformat(), "--check", option)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nowhere"], "There is no stage"),
        (["qa", "--since", "2999-01-01"], "in the future"),
        (["qa", "--since", "soon"], "invalid"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(qa, arguments, error):
    with pytest.raises(CommandError, match=error):
        call_command("guarantee", *arguments)


# Prove it now


@pytest.mark.parametrize("policy", [LISTED, NOBODY])
def test_a_proof_is_captured_where_the_policy_is_closed(crm, qa, as_administrator, policy):
    put(qa, policy)
    answer = as_administrator.post("/monitor/guarantee/qa/prove/", {"app": "crm"}, follow=True)
    message = Message.objects.get()
    assert message.requested[0].endswith("@guarantee.invalid")
    assert message.status == Status.CAPTURED
    assert "Captured. It is kept in the portal, and nobody got it." in words(answer).replace("</strong>", "").replace(
        "<strong>", ""
    )
    event = AuditEvent.objects.get(operation="Send test mail")
    assert (event.actor_name, event.after["to"]) == ("Ada Admin <ada.admin@acme.example>", message.requested[0])


def test_a_proof_stops_at_an_active_list(crm, qa, configured, smtp_server, as_administrator):
    set_list(crm, qa, ANA)
    answer = as_administrator.post("/monitor/guarantee/qa/prove/", {"app": "crm"})
    deliver()
    page = words(as_administrator.get(answer.url))
    assert "Stopped by the test list" in page and ANA in page
    assert smtp_server.recipients == {ANA}


def test_no_proof_is_sent_where_it_could_leave(crm, shop, qa, as_administrator, administrator):
    set_list(shop, qa, ANA)
    assert 'value="crm"' not in words(as_administrator.get("/monitor/guarantee/qa/"))
    assert as_administrator.post("/monitor/guarantee/qa/prove/", {"app": "nothing"}).status_code == 422
    answer = as_administrator.post("/monitor/guarantee/qa/prove/", {"app": "crm"})
    assert answer.status_code == 422
    assert "could write to anyone" in words(answer)
    put(qa, LISTED)
    allow(qa, ["guarantee.invalid"], OPERATOR, typed_stage_name=qa.name)
    with pytest.raises(ValidationError, match="could write to anyone"):
        prove(qa, crm, administrator)
    assert not Message.objects.exists()
    assert not AuditEvent.objects.filter(operation="Send test mail").exists()


def test_who_sends_no_test_mail_sends_no_proof(crm, qa, as_developer):
    put(qa, LISTED)
    assert "Prove it now" not in words(as_developer.get("/monitor/guarantee/qa/"))
    assert as_developer.post("/monitor/guarantee/qa/prove/", {"app": "crm"}).status_code == 403
    assert not Message.objects.exists()


def test_pauses_and_header_fields_are_among_the_changes(crm, qa, administrator):
    disallowed = "partner.example"
    allow(qa, [disallowed], administrator, typed_stage_name=qa.name)
    disallow(qa, disallowed, administrator)
    keep_header(qa, "X-Acme-Order", administrator, typed_stage_name=qa.name)
    pause(Scope(crm, qa), "Duplicate invoices", administrator)
    told = [entry.what for entry in guarantee_of(log_access(administrator, qa), ago(hours=1), database_now()).changes.rows]
    kept = "Test mail keeps X-Acme-Order"
    assert told == ["Paused: Duplicate invoices", kept, f"No longer allowed: {disallowed}", f"Allowed: {disallowed}"]
    assert kept in words(signed_in(administrator).get("/monitor/guarantee/qa/"))


def test_changes_of_the_policy_that_werent_read_are_no_ends_by_the_clock(qa):
    begin = timezone.now()
    for policy in (LISTED, NOBODY, OPEN):
        put(qa, policy)
    changes = guarantee_of(all_access(qa), begin, database_now(), entries_at_most=1).changes
    assert [bool(entry.who) for entry in changes.rows] == [True]
    assert changes.more


@pytest.mark.requires_postgresql
def test_what_the_guarantee_names_is_found_by_index_among_all_events(qa: Stage) -> None:
    """Most events are of other things, and most changes of lists are of their addresses."""
    another = AuditEvent(stage=qa, entity=LIST_ENTITY, operation=AuditEvent.Operation.UPDATE, before={"addresses": []})
    activity = AuditEvent(stage=qa, entity=LIST_ENTITY, operation=AuditEvent.Operation.UPDATE, before={"active": False})
    act = AuditEvent(stage=qa, entity="message", operation=AuditEvent.Operation.RESEND_TO_REAL_RECIPIENTS)
    AuditEvent.objects.bulk_create([another] * 500)
    AuditEvent.objects.bulk_create([activity, act])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE organization_auditevent")
    of_stage = AuditEvent.objects.filter(stage=qa, at__gte=ago(days=1)).order_by("-at", "-pk")
    for found, index in ((list_activity(of_stage), "audit_list_activity"), (acts(of_stage), "audit_acts")):
        assert found.count() == 1
        assert index in found.explain()
