"""Which due messages a worker takes."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from delivery.statements import STAGE_NOW
from outbox.models import HoldReason, Message, Recipient, Status
from testlists.signals import test_list_saved
from tests.support.interleaving import right_before
from tests.support.outbox import deliver, send, set_list, take

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_workers_never_take_the_same_mail(crm, qa, configured):
    for _ in range(10):
        send(crm, qa)
    first, second = take(qa, 6), take(qa, 6)
    assert len(first) == 6
    assert len(second) == 4
    assert not {message.pk for message in first} & {message.pk for message in second}


def test_mail_that_is_held_does_not_stop_the_mail_behind_it(crm, shop, qa, configured, smtp_server, viewer):
    set_list(crm, qa, viewer.email)
    held = [send(crm, qa) for _ in range(5)]
    viewer.is_active = False
    viewer.save()
    fine = [send(shop, qa) for _ in range(5)]
    deliver()
    assert set(Message.objects.filter(app=shop).values_list("status", flat=True)) == {Status.SENT}
    assert len(smtp_server.arrived) == len(fine)
    assert set(Message.objects.filter(app=crm).values_list("hold_reason", flat=True)) == {HoldReason.TEST_LIST_EMPTY}
    assert not Message.objects.filter(pk__in=[message.pk for message in held]).exclude(lease_until=None).exists()


@pytest.mark.requires_postgresql  # SQLite has one writer at a time
def test_a_list_that_is_being_saved_keeps_its_mail_and_no_other(crm, shop, qa, configured, smtp_server):
    real, saving, saved = send(crm, qa), threading.Event(), threading.Event()
    other = send(shop, qa)

    def save_slowly(test_list, **_):
        saving.set()
        saved.wait(60)

    def save():
        set_list(crm, qa, "ana@acme.example")
        connection.close()

    test_list_saved.connect(save_slowly)
    try:
        editor = threading.Thread(target=save)
        editor.start()
        assert saving.wait(60)
        assert [message.pk for message in take(qa, 10)] == [other.pk]
    finally:
        saved.set()
        editor.join(60)
        test_list_saved.disconnect(save_slowly)
    (claimed,) = take(qa, 10)
    assert (claimed.pk, [recipient.address for recipient in claimed.recipients]) == (real.pk, ["ana@acme.example"])


def test_mail_waits_when_its_settings_are_deleted_behind_its_claim(crm, qa, configured):
    message = send(crm, qa)
    with transaction.atomic(), right_before(STAGE_NOW.statement.text, configured.delete):
        assert take(qa, 1) == ()
    message.refresh_from_db()
    assert (message.status, message.owner, message.lease_until) == (Status.QUEUED, "", None)
    assert set(message.recipients.values_list("status", flat=True)) == {Status.QUEUED}


def test_a_due_time_beyond_every_pause_counts_as_due(crm, qa, configured, smtp_server):
    send(crm, qa)
    far = timezone.now() + timedelta(days=3)
    Message.objects.update(due=far)
    Recipient.objects.update(due=far)
    deliver()
    assert len(smtp_server.arrived) == 1
