"""What the outbox does when the layers below change or ask: let go of held mail, and tell how much is or was sent."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from common.addresses import same_address_key
from emailconfig.models import SmtpSettings
from emailconfig.signals import smtp_settings_deleted, smtp_settings_saved
from organization.models import Stage
from outbox import wakeup
from outbox.models import HoldReason, Recipient, Status
from outbox.states import hold_unconfigured, release
from outbox.test_list_counts import recent_mail
from testlists.models import TestList
from testlists.signals import RecentMail, count_leaving, count_recent, test_list_saved


def connect() -> None:
    smtp_settings_saved.connect(_on_settings_saved)
    smtp_settings_deleted.connect(_on_settings_deleted)
    test_list_saved.connect(_on_test_list_saved)
    count_leaving.connect(_count_leaving)
    count_recent.connect(_count_recent)


def _on_settings_saved(settings: SmtpSettings, **_: Any) -> None:
    _after_commit(HoldReason.STAGE_NOT_CONFIGURED, stage=settings.stage_id)


def _on_settings_deleted(stage: Stage, **_: Any) -> None:
    transaction.on_commit(lambda: hold_unconfigured(stage.pk), robust=True)  # the worker does it if we can't


def _on_test_list_saved(test_list: TestList, **_: Any) -> None:
    place = {"app": test_list.app_id, "stage": test_list.stage_id}
    _after_commit(HoldReason.TEST_LIST_MISSING, **place)
    if test_list.people():
        _after_commit(HoldReason.TEST_LIST_EMPTY, **place)


def _after_commit(reason: HoldReason, **place: int) -> None:
    """Thousands of held mails take seconds: nobody who saves or submits waits for that. The sweep does it if we can't."""
    transaction.on_commit(lambda: release(reason, **place), robust=True)
    wakeup.after_commit()


def _count_leaving(test_list: TestList, **_: Any) -> int:
    """Mails being handed over right now to an address that isn't on the list (see testlists.signals)."""
    listed = {same_address_key(person.email) for person in test_list.people()}
    on_the_wire = Recipient.objects.filter(
        status=Status.SENDING,
        message__status=Status.SENDING,
        message__app=test_list.app_id,
        message__stage=test_list.stage_id,
    ).values_list("message_id", "address")
    return len({message for message, address in on_the_wire if same_address_key(address) not in listed})


def _count_recent(test_list: TestList, **_: Any) -> RecentMail:
    return recent_mail(test_list)
