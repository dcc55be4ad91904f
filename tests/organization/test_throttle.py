"""How failed guesses are counted, and what that does to the next one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from organization.exceptions import TooManyFailures
from organization.models import AuditEvent, FailureCount, Member
from organization.throttle import counting, records
from organization.throttle.attempts import attempt, limit_use
from organization.throttle.counting import Pair, count_success, prune_counts, state_of
from organization.throttle.delays import remembered, wait_after
from organization.throttle.models import Secret
from organization.throttle.networks import network_of

HERE, ELSEWHERE = "192.0.2.7", "198.51.100.7"
pytestmark = pytest.mark.django_db


def guess(name: str, client: str = HERE, *, right: bool = False, secret: Secret = Secret.PASSWORD) -> bool:
    """One guess; False if it failed. Raises TooManyFailures."""
    member = Member.objects.filter(email__iexact=name).first()
    return bool(attempt(secret, name, client, lambda: right, member=member))


def is_held_back(name: str, client: str = HERE, secret: Secret = Secret.PASSWORD) -> bool:
    try:
        guess(name, client, right=True, secret=secret)
    except TooManyFailures:
        return True
    return False


def time_passes(**spans: int) -> None:
    """All that has been counted becomes older."""
    for count in FailureCount.objects.all():
        for name in ("last_failure", "blocked_until", "last_success", "changed"):
            if value := getattr(count, name):
                setattr(count, name, value - timedelta(**spans))
        count.save()


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 0), (4, 0), (5, 5), (6, 10), (7, 20), (11, 320), (12, 640), (13, 900), (10_000, 900)]
)
def test_the_wait_doubles_up_to_15_minutes(failures: int, seconds: int) -> None:
    assert wait_after(failures, 5) == timedelta(seconds=seconds)


@pytest.mark.parametrize(("minutes", "left"), [(0, 12), (59, 12), (60, 6), (120, 3), (240, 0), (10**7, 0)])
def test_each_hour_half_of_the_failures_are_forgotten(minutes: int, left: int) -> None:
    assert remembered(12, timedelta(minutes=minutes)) == left


@pytest.mark.parametrize(
    ("client", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", ""),
    ],
)
def test_an_ipv6_customer_counts_as_one_address(client: str, network: str) -> None:
    assert network_of(client) == network


def test_a_name_waits_after_five_failures_from_one_address_and_only_there(viewer: Member) -> None:
    for _ in range(5):
        assert not guess(viewer.email)
    with pytest.raises(TooManyFailures) as refused:
        guess(viewer.email.upper(), right=True)
    assert 0 < refused.value.retry_after <= 5
    assert guess(viewer.email, ELSEWHERE, right=True)
    time_passes(seconds=5)
    assert not guess(viewer.email)
    with pytest.raises(TooManyFailures) as refused:
        guess(viewer.email)
    assert 5 < refused.value.retry_after <= 10


def test_a_refused_guess_is_not_counted(viewer: Member) -> None:
    for _ in range(5):
        guess(viewer.email)
    for _ in range(3):
        assert is_held_back(viewer.email)
    assert set(FailureCount.objects.values_list("failures", flat=True)) == {5}


def test_unknown_names_wait_like_known_ones(viewer: Member) -> None:
    for name in (viewer.email, "unknown@acme.example"):
        for _ in range(5):
            guess(name)
        assert is_held_back(name)


def test_many_names_from_one_address_wait_but_not_those_that_succeeded_there_today(viewer: Member, developer: Member) -> None:
    assert guess(viewer.email, right=True)
    for number in range(20):
        guess(f"unknown{number}@acme.example")
    assert is_held_back("another@acme.example")
    assert is_held_back(developer.email)
    assert guess(viewer.email, right=True)
    assert guess(developer.email, ELSEWHERE, right=True)


def test_a_success_of_yesterday_no_longer_counts(viewer: Member) -> None:
    guess(viewer.email, right=True)
    time_passes(hours=24)
    for number in range(20):
        guess(f"unknown{number}@acme.example")
    assert is_held_back(viewer.email)


def test_failures_of_a_member_who_succeeded_there_today_hold_back_no_one_else(viewer: Member) -> None:
    guess(viewer.email, right=True)
    for _ in range(5):
        guess(viewer.email)
    assert not FailureCount.objects.filter(name_digest="").exists()


def test_a_success_forgets_the_failures_of_its_name_and_not_those_of_the_address(viewer: Member) -> None:
    for number in range(19):
        guess(f"unknown{number}@acme.example")
    guess(viewer.email, right=True)
    assert not guess("last@acme.example")
    assert is_held_back("another@acme.example")
    assert not state_of(Pair(Secret.PASSWORD, viewer.email, HERE)).wait_seconds


def test_one_ipv6_network_has_one_count() -> None:
    for number in range(20):
        guess(f"unknown{number}@acme.example", f"2001:db8::{number:x}")
    assert is_held_back("another@acme.example", "2001:db8::ffff")
    assert not is_held_back("another@acme.example", "2001:db8:0:1::1")


def test_codes_are_counted_over_all_addresses_and_apart_from_passwords(viewer: Member) -> None:
    for number in range(5):
        assert not guess(viewer.email, f"192.0.2.{number}", secret=Secret.CODE)
    assert is_held_back(viewer.email, ELSEWHERE, Secret.CODE)
    assert guess(viewer.email, right=True)


def test_a_form_for_strangers_can_be_used_five_times_for_one_name() -> None:
    for _ in range(5):
        limit_use(Secret.RESET, "vera@acme.example", HERE)
    with pytest.raises(TooManyFailures):
        limit_use(Secret.RESET, "vera@acme.example", HERE)
    limit_use(Secret.RESET, "vera@acme.example", ELSEWHERE)
    assert not AuditEvent.objects.exists()


def test_what_was_entered_as_a_name_is_stored_nowhere() -> None:
    """It may be a password in the wrong field."""
    guess("my-secret-phrase")
    stored = [*FailureCount.objects.values(), *AuditEvent.objects.values()]
    assert stored
    assert "my-secret-phrase" not in str(stored)


def test_a_flood_leaves_few_entries_in_the_audit_trail(viewer: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 1st, 10th and 100th failure of a name have an entry, which says how many there were."""
    monkeypatch.setattr(counting, "ALLOWED_FOR_PAIR", 1000)
    for _ in range(11):
        guess(viewer.email)
    entries = AuditEvent.objects.order_by("pk")
    assert [entry.after for entry in entries] == [
        {"how": "password", "address": HERE, "failures": failures} for failures in (1, 10)
    ]
    assert {(entry.operation, entry.status, entry.actor, entry.entity_id) for entry in entries} == {
        ("Sign in", "refused", None, str(viewer.pk))
    }


def test_a_flood_from_many_addresses_leaves_few_entries_in_an_hour(viewer: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_ENTRIES_PER_HOUR", 3)
    for number in range(5):
        guess(viewer.email, f"10.0.{number}.1")
    assert AuditEvent.objects.count() == 3


def test_housekeeping_removes_old_counts_and_the_oldest_of_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    count_success(Pair(Secret.PASSWORD, "old@acme.example", HERE))
    time_passes(hours=25)
    for number in range(6):
        limit_use(Secret.RESET, "vera@acme.example", f"10.0.{number}.1")
    prune_counts()
    assert FailureCount.objects.count() == 12
    monkeypatch.setattr(counting, "MAX_ROWS", 4)
    prune_counts()
    assert set(FailureCount.objects.values_list("network", flat=True)) == {"10.0.4.1", "10.0.5.1"}
