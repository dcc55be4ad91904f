"""Save a test list.

Every entry point uses these services. Permission, validation, change and audit are in one transaction.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Lower, Now

from common import sql
from common.addresses import NamedAddress, printable, same_address_key
from common.clock import database_now
from common.waiting import wait_until_zero
from organization import audit
from organization.access import Actor, Scope, allowed, require
from organization.exceptions import StaleVersion
from organization.models import App, Member, Stage
from organization.permissions import Permission
from organization.recipient_policy.changes import check_end, policy_in_force
from testlists import statements
from testlists.models import MAX_ADDRESSES, TestList, TestListAddress
from testlists.signals import count_in_flight, test_list_saved
from testlists.state import holds_after_end

MAY_EDIT = (Permission.EDIT_ASSET_CONFIGURATIONS, Permission.MANAGE_EMAIL_CONFIGURATIONS)
ACTIVATION_WAIT_SECONDS = 10.0
TOO_MANY = f"A test list has at most {MAX_ADDRESSES} addresses."
EMPTY_CANT_BE_ACTIVE = (
    "An empty test list can't be Active, because nobody would receive the app's mail. Add a person, or set it to Inactive."
)


@dataclass(frozen=True)
class ListChange:
    """The requested content of a test list.

    `people` may contain members' addresses, which then become the members. `active_until` ends an activation, and means
    nothing for an Inactive list.
    """

    active: bool
    tag_subject: bool
    members: Sequence[Member]
    people: Sequence[NamedAddress]
    active_until: datetime | None = None


def test_list_of(app: App, stage: Stage) -> TestList:
    """The app's list in the stage, with app and stage loaded.

    If its row is missing, the list is unsaved (`is_missing`).
    """
    stored = TestList.objects.select_related("app", "stage").filter(app=app, stage=stage).first()
    return stored or TestList(app=app, stage=stage)


def make_test_lists(*, apps: Iterable[App] | None = None, stages: Iterable[Stage] | None = None) -> None:
    """Make empty, Inactive lists of new apps, or of all apps in new stages.

    It is only for new apps and stages. A missing list of an older app may have been Active.
    """
    _lock_creation()
    some_apps = App.objects.without_built_in() if apps is None else apps
    pairs = itertools.product(some_apps, Stage.objects.all() if stages is None else stages)
    TestList.objects.bulk_create([TestList(app=app, stage=stage) for app, stage in pairs], ignore_conflicts=True)


test_list_of.__test__ = False  # type: ignore[attr-defined]  # pytest takes it for a test because of its name


def may_edit(actor: Actor, app: App, stage: Stage) -> bool:
    return allowed(actor, Scope(app, stage), *MAY_EDIT)


def sees_addresses(actor: Actor, app: App, stage: Stage) -> bool:
    """Whether `actor` may see the addresses on the app's list.

    It takes the same permission as seeing the recipients of the app's mail.
    """
    return allowed(actor, Scope(app, stage), Permission.ACCESS_USER_INFORMATION)


def save_test_list(app: App, stage: Stage, change: ListChange, actor: Actor, *, expected_version: int | None = None) -> TestList:
    """Save the list as `change`.

    If it is Active then, only the people on it get new messages. `expected_version` is the version that the change was made from,
    or None if nothing was read before. Raises PermissionDenied, ValidationError (for the fields `active`, `active_until`
    and `people`) or
    StaleVersion. Then nothing is stored.
    """
    require(actor, Scope(app, stage), *MAY_EDIT)
    if app.is_built_in:
        raise ValidationError(f"The app {app} is built in and has no test list: only members get its emails.")
    entries = _validated_entries(change)
    with transaction.atomic():
        lock_against_claims(app, stage)
        test_list = _locked(app, stage)
        if expected_version is not None and expected_version != test_list.version:
            raise StaleVersion()
        lost = test_list.is_missing
        before = None if lost else _snapshot(test_list)
        test_list.active, test_list.tag_subject = change.active, change.tag_subject
        test_list.active_until = change.active_until if change.active else None
        test_list.version += 1
        if test_list.active or lost:  # it may have been Active before
            test_list.active_version = test_list.version
        test_list.full_clean()
        test_list.save()
        _replace_entries(test_list, entries)
        audit.record(
            actor,
            audit.Operation.CREATE if lost else audit.Operation.UPDATE,
            test_list,
            before=before,
            after=_snapshot(test_list),
        )
        test_list_saved.send(TestList, test_list=test_list)
    return test_list


def _locked(app: App, stage: Stage) -> TestList:
    """The stored list, locked, or a new one if it is missing."""
    lists = TestList.objects.select_for_update(of=("self",)).select_related("app", "stage")
    return lists.filter(app=app, stage=stage).first() or TestList(app=app, stage=stage)


def in_flight_count(test_list: TestList) -> int:
    """The number of the app's messages that are being sent to people outside the list.

    It is 0 unless the list is Active.
    """
    if not test_list.active:
        return 0
    answers = cast(list[tuple[object, int]], count_in_flight.send(TestList, test_list=test_list))
    return sum(count for _, count in answers)


def wait_until_none_in_flight(test_list: TestList, seconds: float = ACTIVATION_WAIT_SECONDS) -> int:
    """Wait for messages that a worker began to send before the activation.

    Returns how many are still being sent. At 0 the activation is complete.
    """
    return wait_until_zero(lambda: in_flight_count(test_list), seconds)


def lock_against_claims(app: App, stage: Stage) -> None:
    """Keep workers from claiming the app's messages until the transaction ends.

    Messages that were claimed before are counted by in_flight_count().
    """
    if connection.vendor == "postgresql":
        sql.run(statements.LOCK_LIST, app.pk, stage.pk)


def lock_stage_against_hand_over(stage: Stage) -> None:
    """As for one list, for all apps: in the order of their numbers, so that two who do it at once don't wait for each other.

    An app whose creation isn't committed yet waits until the transaction ends, because its lock isn't among those taken here.
    """
    _lock_creation()
    for app in App.objects.order_by("pk"):
        lock_against_claims(app, stage)


def _lock_creation() -> None:
    """Let no other transaction make lists until this one ends.

    If an app and a stage are created at the same time, the second then sees the first.
    """
    if connection.vendor == "postgresql":
        sql.run(statements.LOCK_CREATION)


def lists_in_force() -> QuerySet[TestList]:
    """Lists that are Active now, by the database's clock."""
    return TestList.objects.filter(active=True).exclude(active_until__lte=Now())


def expired_lists() -> QuerySet[TestList]:
    """Lists that have expired, and that nobody has extended or deactivated yet."""
    return TestList.objects.filter(active=True, active_until__lte=Now())


def waits_for_decision(test_list: TestList, now: datetime) -> bool:
    """Whether the list has expired, and the app's mail is held until a person extends or deactivates the list."""
    stage = test_list.stage
    policy = policy_in_force(stage, now)
    return test_list.is_expired(now) and holds_after_end(policy, is_production=stage.is_production)


def check(change: ListChange) -> None:
    """Raise the ValidationError that saving `change` would raise.

    It is for forms that must know before they save.
    """
    _validated_entries(change)


def _validated_entries(change: ListChange) -> list[TestListAddress]:
    if len(change.members) + len(change.people) > MAX_ADDRESSES:
        raise ValidationError({"people": f"{TOO_MANY} This one would have {len(change.members) + len(change.people):,}."})
    entries = resolve(change.members, change.people)
    problems = [*(problem for entry in entries for problem in problems_of(entry)), *_duplicates(entries)]
    if problems:
        raise ValidationError({"people": problems})
    if change.active:
        check_end(change.active_until, database_now(), field="active_until")
    if change.active and not entries:
        raise ValidationError({"active": EMPTY_CANT_BE_ACTIVE})
    return entries


def resolve(chosen: Sequence[Member], people: Sequence[NamedAddress]) -> list[TestListAddress]:
    """The entries for these members and people, in this order.

    A member's address becomes the member. A removed member is left out.
    """
    members = Member.objects.filter(is_active=True).annotate(address=Lower("email"))
    by_address = {
        member.email.lower(): member for member in members.filter(address__in=[person.email.lower() for person in people])
    }
    entries = [TestListAddress(member=member) for member in chosen if member.is_active]
    for person in people:
        member = by_address.get(person.email.lower())
        entries.append(TestListAddress(member=member) if member else TestListAddress(email=person.email, name=person.name))
    return entries


def problems_of(entry: TestListAddress) -> list[str]:
    """The reasons why the entry can't be on any list."""
    try:
        entry.clean_fields(exclude=["test_list", "member"])
        entry.clean()
    except ValidationError as error:
        return [f"{printable(entry.person.email)}: {message}" for message in error.messages]
    return []


def _duplicates(entries: list[TestListAddress]) -> list[str]:
    counted = Counter(same_address_key(entry.person.email) for entry in entries)
    return [f"{address} is on the list more than once. Remove the duplicate." for address, times in counted.items() if times > 1]


def _replace_entries(test_list: TestList, entries: list[TestListAddress]) -> None:
    test_list.addresses.all().delete()
    for entry in entries:
        entry.test_list = test_list
    TestListAddress.objects.bulk_create(entries)


def _snapshot(test_list: TestList) -> audit.Values:
    return {**audit.snapshot(test_list), "addresses": [str(person) for person in test_list.people()]}
