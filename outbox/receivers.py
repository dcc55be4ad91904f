"""What the outbox does for signals of the layers below: it releases held messages, and counts what is or was sent."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from common.addresses import same_address_key
from emailconfig.models import SmtpSettings
from emailconfig.signals import say_what_is_held, smtp_settings_deleted, smtp_settings_saved
from organization.access import Scope
from organization.models import Stage
from organization.recipient_policy.policy import PolicyState, RecipientPolicy
from organization.signals import count_stage_leaving
from outbox import wakeup
from outbox.counts.test_list_counts import recent_mail
from outbox.holding.held_mail import drop_answers, held_in_words
from outbox.models import HoldReason, Recipient, RouteKind, Rule, Source, Status
from outbox.states import hold_unconfigured, release_to_list, settle_expired_list
from testlists.models import TestList
from testlists.signals import RecentMail, count_in_flight, count_recent, test_list_saved


def connect() -> None:
    smtp_settings_saved.connect(_on_settings_saved)
    smtp_settings_deleted.connect(_on_settings_deleted)
    say_what_is_held.connect(_say_what_is_held)
    test_list_saved.connect(_on_test_list_saved)
    count_in_flight.connect(_count_in_flight)
    count_recent.connect(_count_recent)
    count_stage_leaving.connect(_count_stage_leaving)


def _on_settings_saved(settings: SmtpSettings, **_: Any) -> None:
    """Test mail goes. About what else is held for the settings a person decides (see held_mail)."""
    _after_commit(HoldReason.STAGE_NOT_CONFIGURED, stage=settings.stage_id)


def _on_settings_deleted(stage: Stage, **_: Any) -> None:
    drop_answers(Scope(stage=stage))
    transaction.on_commit(lambda: hold_unconfigured(stage.pk), robust=True)  # the worker does it if we can't


def _say_what_is_held(stage: Stage, **_: Any) -> str:
    return held_in_words(Scope(stage=stage))


def _on_test_list_saved(test_list: TestList, **_: Any) -> None:
    place = {"app": test_list.app_id, "stage": test_list.stage_id}
    _after_commit(HoldReason.TEST_LIST_MISSING, **place)
    transaction.on_commit(lambda: settle_expired_list(test_list.app_id, test_list.stage_id), robust=True)
    if test_list.people():
        _after_commit(HoldReason.TEST_LIST_EMPTY, **place)


def _after_commit(reason: HoldReason, **place: int) -> None:
    """Release held messages to their list after the commit.

    Thousands of them take seconds, and no one who saves or submits should wait for that. The sweep does it if we can't.
    """
    transaction.on_commit(lambda: release_to_list(reason, **place), robust=True)
    wakeup.notify_on_commit()


def _count_in_flight(test_list: TestList, **_: Any) -> int:
    """How many messages are being sent to an address that is neither on the list nor allowed (see testlists.signals)."""
    listed = {same_address_key(person.email) for person in test_list.people()}
    rows = _on_the_wire(message__app=test_list.app_id, message__stage=test_list.stage_id).exclude(
        rule__in=(Rule.ALLOWED, Rule.FORWARDED)
    )
    return len({pk for pk, address in rows.values_list("message_id", "address") if same_address_key(address) not in listed})


def _count_stage_leaving(stage: Stage, policy: PolicyState, **_: Any) -> int:
    """How many messages are being sent to an address that gets none under the stage's policy (see organization.signals)."""
    rows = _on_the_wire(message__stage=stage.pk).values_list("message_id", "address", "rule", "message__route", "message__via")
    return len({pk for pk, *recipient in rows if not _may_leave(policy, *recipient)})


def _may_leave(policy: PolicyState, address: str, rule: str, route: str, via: str) -> bool:
    if rule == Rule.FORWARDED:
        return True
    if policy.policy == RecipientPolicy.NOBODY:
        return False
    if rule == Rule.ALLOWED:
        return via == Source.OWN or policy.allows(address)
    return policy.policy == RecipientPolicy.AS_APPS_ASK or route in (RouteKind.TEST_LIST, RouteKind.RELEASED)


def _on_the_wire(**place: int) -> QuerySet[Recipient]:
    return Recipient.objects.filter(status=Status.SENDING, message__status=Status.SENDING, **place)


def _count_recent(test_list: TestList, **_: Any) -> RecentMail:
    return recent_mail(test_list)
