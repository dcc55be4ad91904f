"""Pauses of a stage whose server gives trouble."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from delivery.backoff import pause_after, record_failure
from delivery.models import StageBackoff
from emailconfig.connection import ConnectionFailure
from outbox.models import Status
from tests.support.outbox import deliver, deliver_beside, now_due, outcomes, send
from tests.support.portal import configure, eventually
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_server_that_cannot_be_reached_backs_off_the_stage_and_costs_the_mail_no_try(crm, qa, closed_port):
    configure(qa, port=closed_port)
    message = send(crm, qa)
    deliver()
    message.refresh_from_db()
    assert (message.status, message.owner) == (Status.QUEUED, "")
    assert not message.attempts.exists()
    queue = StageBackoff.objects.get(stage=qa)
    assert queue.code == "connection_refused"
    assert not queue.paused
    with SmtpServer() as server:
        configure(qa, server)  # saving starts at once
        deliver()
        assert len(server.arrived) == 1
    assert not StageBackoff.objects.filter(failures__gt=0).exists()


def test_refused_sign_in_pauses_the_stage_after_one_try_for_all_its_mail(crm, qa):
    with SmtpServer(users={"portal": "right"}) as server:
        configure(qa, server, authentication="basic", username="portal", new_secret="wrong", connections=1)
        for _ in range(5):
            send(crm, qa)
        deliver()
        assert server.logins == [("portal", "wrong")]
        assert StageBackoff.objects.get(stage=qa).paused
        configure(qa, server, new_secret="right")
        deliver()
        assert len(server.arrived) == 5


def test_a_server_that_turns_every_mail_away_is_asked_less_and_less_often(crm, qa, configured, smtp_server):
    smtp_server.mail = lambda _: "421 4.3.2 not now"
    send(crm, qa)
    for failures in (1, 2, 3):
        now_due()
        deliver()
        assert StageBackoff.objects.get(stage=qa).failures == failures


def test_a_pause_of_the_stage_that_is_too_far_off_is_over(crm, qa, configured, smtp_server):
    StageBackoff.objects.create(stage=qa, failures=1, retry_at=timezone.now() + timedelta(days=3))
    send(crm, qa)
    deliver()
    assert len(smtp_server.arrived) == 1


def test_a_dead_stage_does_not_delay_another(crm, qa, production, smtp_server):
    hang = threading.Event()
    with SmtpServer(data=lambda _: hang.wait(60) and None) as slow:
        configure(production, slow, from_domains="*")
        configure(qa, smtp_server, from_domains="*")
        send(crm, production)
        worker = threading.Thread(target=deliver_beside)
        worker.start()
        for _ in range(3):
            send(crm, qa)
        try:
            eventually(lambda: len(smtp_server.arrived) == 3)
            assert slow.arrived == []
        finally:
            hang.set()
            worker.join(60)


@pytest.mark.parametrize(
    ("code", "longest"),
    [
        ("certificate_expired", 60),
        ("starttls_not_offered", 60),
        ("auth_not_offered", 60),
        ("token_answer_unusable", 60),
        ("token_server_error", 60),
        ("token_request_refused", 60),
        ("secret_unreadable", 60),
        ("auth_refused", 1800),
        ("token_client_refused", 1800),
        ("token_scope_refused", 1800),
        ("token_not_accepted", 1800),
    ],
)
def test_only_a_refused_sign_in_waits_longer_than_a_minute_for_a_person(qa, code, longest):
    StageBackoff.objects.create(stage=qa, failures=500, since=timezone.now() - timedelta(hours=9))
    record_failure(qa.pk, ConnectionFailure("AUTH", code))
    pause = StageBackoff.objects.get(stage=qa).retry_at - timezone.now()
    assert longest - 5 < pause.total_seconds() <= longest


def test_the_stages_pause_grows_to_its_limit():
    assert [pause_after(n, needs_a_person=False).total_seconds() for n in (1, 2, 3, 4, 5, 60)] == [5, 10, 20, 40, 60, 60]
    assert [pause_after(n, needs_a_person=True).total_seconds() for n in (1, 2, 6, 99)] == [60, 120, 1800, 1800]


def test_trouble_is_over_with_the_first_email_after_the_pause_whatever_the_fraction_of_a_second(crm, qa, configured, smtp_server):
    """SQLite compares times as text, so that those with and without a fraction don't agree."""
    for _ in range(5):
        message = send(crm, qa)
        StageBackoff.objects.update_or_create(
            stage=qa, defaults={"failures": 3, "retry_at": timezone.now(), "since": timezone.now() - timedelta(hours=1)}
        )
        deliver()
        assert outcomes(message) == [("customer@example.com", "sent")]
        assert not StageBackoff.objects.filter(failures__gt=0).exists()
