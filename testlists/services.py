"""Saving a test list. Every door ends here: permission, validation, change and audit in one transaction."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models.functions import Lower

from common import sql
from common.addresses import NamedAddress, printable, same_address_key
from common.waiting import wait_until_zero
from organization import audit
from organization.access import Actor, Scope, allowed, require
from organization.models import App, Member, Stage
from organization.permissions import Permission
from organization.services import StaleVersion
from testlists.models import MAX_ADDRESSES, TestList, TestListAddress
from testlists.signals import count_leaving, test_list_saved

# Every turn of a worker asks it.
# In the model's own order, which from_db() takes for granted.
_COLUMNS = [field.attname for field in TestList._meta.concrete_fields]
_LISTS = f"SELECT {', '.join(_COLUMNS)} FROM testlists_testlist WHERE stage_id = %s AND app_id IN %s"  # noqa: S608
MAY_EDIT = (Permission.EDIT_ASSET_CONFIGURATIONS, Permission.MANAGE_EMAIL_CONFIGURATIONS)
_LISTS_BEING_MADE = 5_321  # an advisory lock of PostgreSQL; those of one list have two numbers
ACTIVATION_WAIT_SECONDS = 10.0
TOO_MANY = f"A test list has at most {MAX_ADDRESSES} addresses."
EMPTY_CANT_BE_ACTIVE = (
    "An empty test list can't be Active: nobody would receive the app's mail. Add a person, or switch it to Inactive."
)


@dataclass(frozen=True)
class Wanted:
    """What a test list shall be. `people` may name members and other addresses; a member's address becomes the member."""

    active: bool
    tag_subject: bool
    members: Sequence[Member]
    people: Sequence[NamedAddress]


def test_list_of(app: App, stage: Stage) -> TestList:
    """The app's list in the stage, its app and stage loaded; one that isn't stored where the row is missing."""
    stored = TestList.objects.select_related("app", "stage").filter(app=app, stage=stage).first()
    return stored or TestList(app=app, stage=stage)


def make_test_lists(*, apps: Iterable[App] | None = None, stages: Iterable[Stage] | None = None) -> None:
    """Make the lists, empty and Inactive, of these apps in all stages, or of all apps in these stages.

    Only for what is new: where there has been mail already, a list that is missing may have been Active.
    """
    _lock_creation()
    pairs = itertools.product(App.objects.all() if apps is None else apps, Stage.objects.all() if stages is None else stages)
    TestList.objects.bulk_create([TestList(app=app, stage=stage) for app, stage in pairs], ignore_conflicts=True)


test_list_of.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever pytest thinks of the name


def may_edit(actor: Actor, app: App, stage: Stage) -> bool:
    return allowed(actor, Scope(app, stage), *MAY_EDIT)


def sees_addresses(actor: Actor, app: App, stage: Stage) -> bool:
    """Whether `actor` may know who is on the app's list: it takes what it takes to see whom the app's mail is for."""
    return allowed(actor, Scope(app, stage), Permission.ACCESS_USER_INFORMATION)


def save_test_list(app: App, stage: Stage, wanted: Wanted, actor: Actor, *, read_at: int | None = None) -> TestList:
    """Make the list what is `wanted`. Then, if it is Active, no new mail leaves for anybody who isn't on it.

    `read_at` is the version the change was made from; None where nothing was read before.
    Raises PermissionDenied, ValidationError (with the fields `active` and `people`), StaleVersion; then nothing is stored.
    """
    require(actor, Scope(app, stage), *MAY_EDIT)
    entries = _validated_entries(wanted)
    with transaction.atomic():
        _lock_against_hand_over(app, stage)
        test_list = _locked(app, stage)
        if read_at is not None and read_at != test_list.version:
            raise StaleVersion()
        lost = test_list.is_missing
        before = None if lost else _snapshot(test_list)
        test_list.active, test_list.tag_subject = wanted.active, wanted.tag_subject
        test_list.version += 1
        if test_list.active or lost:  # nobody knows whether it was Active before
            test_list.active_version = test_list.version
        test_list.full_clean()
        test_list.save()
        _replace_entries(test_list, entries)
        audit.record(actor, "Create" if lost else "Update", test_list, before=before, after=_snapshot(test_list))
        test_list_saved.send(TestList, test_list=test_list)
    return test_list


def _locked(app: App, stage: Stage) -> TestList:
    """The list as it is stored; a new one where it is missing."""
    lists = TestList.objects.select_for_update(of=("self",)).select_related("app", "stage")
    return lists.filter(app=app, stage=stage).first() or TestList(app=app, stage=stage)


def mails_leaving(test_list: TestList) -> int:
    """How many mails of the app and stage are on the wire to somebody outside the list; 0 unless the list is Active."""
    if not test_list.active:
        return 0
    answers = cast(list[tuple[object, int]], count_leaving.send(TestList, test_list=test_list))
    return sum(count for _, count in answers)


def wait_until_nothing_leaves(test_list: TestList, seconds: float = ACTIVATION_WAIT_SECONDS) -> int:
    """Wait for mail that was handed over before the activation. Returns what is still on the wire: 0 means it holds."""
    return wait_until_zero(lambda: mails_leaving(test_list), seconds)


def ask_lists_for_hand_over(apps: Collection[int], stage_id: int) -> Callable[[], dict[int, TestList]]:
    """The lists of these apps in the stage, by app, as they are now; their locks were taken by `unlocked_condition`."""
    rows = sql.ask(_LISTS, stage_id, list(apps))

    def read() -> dict[int, TestList]:
        lists = [TestList.from_db(connection.alias, _COLUMNS, row) for row in rows()]
        return {test_list.app_id: test_list for test_list in lists}

    return read


def unlocked_condition(app_column: str, stage_column: str) -> str:
    """SQL for hand-over: takes the list's lock, shared with other hand-overs, until the transaction ends; false while
    somebody saves the list or waits to.

    An advisory lock and not the row's own: it is given in the order in which it was asked for, so that many workers
    can't keep an activation waiting, and hand-over passes over what is locked instead of waiting for it.
    """
    if connection.vendor == "postgresql":
        return f"pg_try_advisory_xact_lock_shared({app_column}::int, {stage_column}::int)"
    return "1 = 1"  # SQLite: whoever is in a transaction is alone


def _lock_against_hand_over(app: App, stage: Stage) -> None:
    """Until the transaction ends nothing of the app is handed over in the stage; what was before is counted as leaving."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s::int, %s::int)", [app.pk, stage.pk])


def lock_stage_against_hand_over(stage: Stage) -> None:
    """As for one list, for all apps: in the order of their numbers, so that two who do it at once don't wait for each other."""
    for app in App.objects.order_by("pk"):
        _lock_against_hand_over(app, stage)


def _lock_creation() -> None:
    """Until the transaction ends nobody else makes lists: of an app and a stage that are made at once, the second sees the
    first."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LISTS_BEING_MADE])


def check(wanted: Wanted) -> None:
    """Raise the ValidationError that saving `wanted` would raise. For forms that must know before they save."""
    _validated_entries(wanted)


def _validated_entries(wanted: Wanted) -> list[TestListAddress]:
    if len(wanted.members) + len(wanted.people) > MAX_ADDRESSES:
        raise ValidationError({"people": f"{TOO_MANY} These are {len(wanted.members) + len(wanted.people):,}."})
    entries = resolve(wanted.members, wanted.people)
    problems = [*(problem for entry in entries for problem in problems_of(entry)), *_duplicates(entries)]
    if problems:
        raise ValidationError({"people": problems})
    if wanted.active and not entries:
        raise ValidationError({"active": EMPTY_CANT_BE_ACTIVE})
    return entries


def resolve(chosen: Sequence[Member], people: Sequence[NamedAddress]) -> list[TestListAddress]:
    """How they would stand on a list, in this order: a member's address becomes the member, a removed member is left out."""
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
    """What keeps the entry off every list."""
    try:
        entry.clean_fields(exclude=["test_list", "member"])
        entry.clean()
    except ValidationError as error:
        return [f"{printable(entry.person.email)}: {message}" for message in error.messages]
    return []


def _duplicates(entries: list[TestListAddress]) -> list[str]:
    counted = Counter(same_address_key(entry.person.email) for entry in entries)
    return [f"{address} would stand on the list more than once." for address, times in counted.items() if times > 1]


def _replace_entries(test_list: TestList, entries: list[TestListAddress]) -> None:
    test_list.addresses.all().delete()
    for entry in entries:
        entry.test_list = test_list
    TestListAddress.objects.bulk_create(entries)


def _snapshot(test_list: TestList) -> audit.Values:
    return {**audit.snapshot(test_list), "addresses": [str(person) for person in test_list.people()]}
