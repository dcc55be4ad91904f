from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib import import_module

import pytest
from django.apps import apps
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from common.addresses import NamedAddress
from organization.exceptions import StaleVersion
from organization.models import App, AuditEvent, Member, Role, Stage
from organization.permissions import Permission
from organization.services import save_app, save_in_organization
from testlists.models import TestList, TestListAddress
from testlists.services import (
    EMPTY_CANT_BE_ACTIVE,
    ListChange,
    in_flight_count,
    save_test_list,
    test_list_of,
    wait_until_none_in_flight,
)
from testlists.signals import count_in_flight
from tests.support.interleaving import wait_until_blocked
from tests.support.portal import OPERATOR, make_member
from tests.support.testlists import keep_list, numbered, on_list, people


def refusal(app: App, stage: Stage, change: ListChange) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as refused:
        save_test_list(app, stage, change, OPERATOR)
    return refused.value.message_dict


def test_every_app_has_its_list_in_every_stage_empty_and_inactive_and_of_its_own(
    crm: App, shop: App, qa: Stage, production: Stage
) -> None:
    keep_list(crm, qa, "ana@example.com", active=True)
    for app, stage in ((crm, production), (shop, qa)):
        assert not test_list_of(app, stage).active
        assert on_list(app, stage) == []
    assert test_list_of(crm, qa) == test_list_of(crm, qa)


def test_there_is_one_list_per_app_and_stage(crm: App, qa: Stage) -> None:
    test_list_of(crm, qa)
    with pytest.raises(IntegrityError), transaction.atomic():
        TestList.objects.create(app=crm, stage=qa)


def test_an_app_and_a_stage_are_made_with_their_lists(crm: App, qa: Stage, administrator: Member) -> None:
    billing = save_app(App(key="billing", name="Billing"), administrator)
    staging = save_in_organization(Stage(key="staging", name="Staging"), administrator)
    places = set(TestList.objects.values_list("app__key", "stage__key", "active"))
    assert places == {(app.key, stage.key, False) for app in (crm, billing) for stage in (qa, staging)}
    TestList.objects.all().delete()
    billing.name, staging.name = "Invoices", "Stage"
    save_app(billing, administrator)
    save_in_organization(staging, administrator)
    assert not TestList.objects.exists()  # a list that is lost is made again by a person alone


def test_a_list_that_is_lost_is_made_again_by_who_saves_it(crm: App, qa: Stage) -> None:
    TestList.objects.all().delete()
    assert test_list_of(crm, qa).is_missing
    assert on_list(crm, qa) == []
    keep_list(crm, qa, "ana@example.com", active=True)
    assert AuditEvent.objects.latest("pk").operation == "Create"
    assert (test_list_of(crm, qa).active, on_list(crm, qa)) == (True, ["ana@example.com"])


def test_the_migration_makes_the_lists_of_what_is_there(crm: App, shop: App, qa: Stage, production: Stage) -> None:
    keep_list(crm, qa, "ana@example.com", active=True)
    TestList.objects.exclude(active=True).delete()
    import_module("testlists.migrations.0002_list_of_every_app_and_stage").make_missing_lists(apps, None)
    assert TestList.objects.count() == 4
    assert TestList.objects.get(active=True) == test_list_of(crm, qa)


@pytest.mark.requires_postgresql  # SQLite has one writer at a time
@pytest.mark.django_db(transaction=True)
def test_an_app_and_a_stage_that_are_made_at_once_have_their_list(db: None) -> None:
    stage_is_stored = threading.Event()

    def make_stage() -> None:
        with closing(connection), transaction.atomic():
            save_in_organization(Stage(key="staging", name="Staging"), OPERATOR)
            stage_is_stored.set()
            wait_until_blocked()

    with ThreadPoolExecutor(1) as other:
        made = other.submit(make_stage)
        assert stage_is_stored.wait(30)
        save_app(App(key="billing", name="Billing"), OPERATOR)
        made.result(30)
    assert TestList.objects.filter(app__key="billing", stage__key="staging").exists()


def test_the_list_becomes_what_is_wanted(crm: App, qa: Stage, viewer: Member) -> None:
    keep_list(crm, qa, "ana@example.com", "bob@example.com")
    keep_list(crm, qa, "bob@example.com", "carl@EXAMPLE.com", members=(viewer,), active=True)
    assert on_list(crm, qa) == [viewer.email, "bob@example.com", "carl@example.com"]
    assert test_list_of(crm, qa).version == 2


def test_an_empty_list_cannot_be_active_and_an_active_one_not_emptied(crm: App, qa: Stage) -> None:
    empty = ListChange(True, False, [], [])
    assert refusal(crm, qa, empty) == {"active": [EMPTY_CANT_BE_ACTIVE]}
    keep_list(crm, qa, "ana@example.com", active=True)
    assert refusal(crm, qa, empty) == {"active": [EMPTY_CANT_BE_ACTIVE]}
    assert (test_list_of(crm, qa).active, on_list(crm, qa)) == (True, ["ana@example.com"])


def test_an_inactive_list_may_be_emptied(crm: App, qa: Stage) -> None:
    keep_list(crm, qa, "ana@example.com", active=True)
    keep_list(crm, qa)
    assert on_list(crm, qa) == []


def test_a_list_of_removed_members_alone_cannot_be_activated(crm: App, qa: Stage, viewer: Member) -> None:
    viewer.is_active = False
    viewer.save()
    assert refusal(crm, qa, ListChange(True, False, [viewer], [])) == {"active": [EMPTY_CANT_BE_ACTIVE]}


def test_a_hundred_addresses_are_kept_and_a_hundred_and_one_refused(crm: App, qa: Stage, viewer: Member) -> None:
    keep_list(crm, qa, *numbered(99), members=(viewer,))
    errors = refusal(crm, qa, ListChange(False, False, [viewer], people(*numbered(100))))
    assert errors == {"people": ["A test list has at most 100 addresses. This one would have 101."]}
    assert len(on_list(crm, qa)) == 100


@pytest.mark.parametrize(
    ("addresses", "sentence"),
    [
        (["ana@example.com", "ana@example.com"], "ana@example.com is on the list more than once."),
        (["ana@example.com", "ana@EXAMPLE.com"], "ana@example.com is on the list more than once."),
        (["vera.viewer@acme.example", "Vera.Viewer@ACME.example"], "vera.viewer@acme.example is on the list"),
    ],
)
def test_nobody_is_on_a_list_twice(crm: App, qa: Stage, viewer: Member, addresses: list[str], sentence: str) -> None:
    errors = refusal(crm, qa, ListChange(False, False, [], people(*addresses)))
    assert len(errors["people"]) == 1
    assert errors["people"][0].startswith(sentence)


def test_a_member_chosen_and_typed_is_one_too_many(crm: App, qa: Stage, viewer: Member) -> None:
    assert "more than once" in refusal(crm, qa, ListChange(False, False, [viewer], people(viewer.email)))["people"][0]


def test_two_mailboxes_that_differ_in_case_are_two(crm: App, qa: Stage) -> None:
    keep_list(crm, qa, "ana@example.com", "Ana@example.com")
    assert len(on_list(crm, qa)) == 2


def test_the_typed_address_of_a_member_becomes_the_member(crm: App, qa: Stage, viewer: Member) -> None:
    test_list = keep_list(crm, qa, "VERA.viewer@ACME.example")
    entry = test_list.addresses.get()
    assert (entry.member, entry.email) == (viewer, "")
    Member.objects.update(email="vera@new.example", name="Vera V.")
    assert test_list_of(crm, qa).people() == [NamedAddress("vera@new.example", "Vera V.")]


def test_a_removed_member_leaves_every_list(crm: App, qa: Stage, viewer: Member) -> None:
    keep_list(crm, qa, "ana@example.com", members=(viewer,), active=True)
    Member.objects.filter(pk=viewer.pk).update(is_active=False)
    assert on_list(crm, qa) == ["ana@example.com"]
    assert viewer.email not in on_list(crm, qa)


@pytest.mark.parametrize(
    "person",
    [
        NamedAddress("rubbish"),
        NamedAddress("a@b.example\r\nBcc: x"),
        NamedAddress("a@b.example", "x\r\ny"),
        NamedAddress("a@b.example", "n" * 101),
    ],
)
def test_rubbish_never_gets_on_a_list_and_is_named(crm: App, qa: Stage, person: NamedAddress) -> None:
    errors = refusal(crm, qa, ListChange(False, False, [], [NamedAddress("good@example.com"), person]))
    assert len(errors["people"]) == 1
    assert person.email[:7] in errors["people"][0]
    assert "\r" not in errors["people"][0]
    assert on_list(crm, qa) == []


def test_the_database_keeps_members_and_addresses_apart(crm: App, qa: Stage, viewer: Member) -> None:
    test_list = test_list_of(crm, qa)
    for entry in ({"member": viewer, "email": "ana@example.com"}, {"member": None, "email": ""}):
        with pytest.raises(IntegrityError), transaction.atomic():
            TestListAddress.objects.create(test_list=test_list, **entry)


def test_a_stale_save_is_refused_and_overwrites_nothing(crm: App, qa: Stage) -> None:
    expected_version = test_list_of(crm, qa).version
    keep_list(crm, qa, "ana@example.com", active=True)
    with pytest.raises(StaleVersion):
        save_test_list(
            crm, qa, ListChange(False, False, [], people("eve@example.com")), OPERATOR, expected_version=expected_version
        )
    assert (test_list_of(crm, qa).active, on_list(crm, qa)) == (True, ["ana@example.com"])


def permitted(permission: Permission, app: App | None, *stages: Stage) -> Member:
    role = Role.objects.create(name="Role", permissions=[permission.value])
    role.stages.set(stages)
    return make_member("Mia", role, app)


@pytest.mark.parametrize(
    ("permission", "app", "stage", "may"),
    [
        (Permission.EDIT_ASSET_CONFIGURATIONS, None, None, True),
        (Permission.EDIT_ASSET_CONFIGURATIONS, "crm", None, True),
        (Permission.EDIT_ASSET_CONFIGURATIONS, "crm", "qa", True),
        (Permission.EDIT_ASSET_CONFIGURATIONS, "crm", "production", False),
        (Permission.EDIT_ASSET_CONFIGURATIONS, "shop", None, False),
        (Permission.MANAGE_EMAIL_CONFIGURATIONS, None, None, True),
        (Permission.MANAGE_EMAIL_CONFIGURATIONS, None, "qa", True),
        (Permission.MANAGE_EMAIL_CONFIGURATIONS, None, "production", False),
        (Permission.CHANGE_APPS, None, None, False),
        (Permission.MANAGE_MEMBERS, None, None, False),
        (Permission.ACCESS_ASSET_LOGS, None, None, False),
    ],
)
def test_who_may_edit_a_list(
    crm: App, shop: App, qa: Stage, production: Stage, permission: Permission, app: str | None, stage: str | None, may: bool
) -> None:
    actor = permitted(permission, App.objects.get(key=app) if app else None, *([Stage.objects.get(key=stage)] if stage else []))
    change = ListChange(False, False, [], people("ana@example.com"))
    if may:
        save_test_list(crm, qa, change, actor)
    else:
        with pytest.raises(PermissionDenied):
            save_test_list(crm, qa, change, actor)
    assert on_list(crm, qa) == (["ana@example.com"] if may else [])


def test_the_audit_trail_tells_who_was_added_and_removed(crm: App, qa: Stage, administrator: Member) -> None:
    keep_list(crm, qa, "ana@example.com")
    save_test_list(crm, qa, ListChange(True, False, [], people("bob@example.com")), administrator)
    event = AuditEvent.objects.latest("pk")
    assert (event.actor, event.app, event.stage) == (administrator, crm, qa)
    assert (event.before["active"], event.before["addresses"]) == (False, ["ana@example.com"])
    assert (event.after["active"], event.after["addresses"]) == (True, ["bob@example.com"])
    assert "tag_subject" not in event.after  # only what changed


def test_saving_a_hundred_people_asks_the_database_no_more_than_one(crm: App, qa: Stage) -> None:
    members = [make_member(f"Member {number}") for number in range(60)]
    counted = []
    for count in (2, 40):
        test_list_of(crm, qa).addresses.all().delete()
        with CaptureQueriesContext(connection) as queries:
            keep_list(crm, qa, *numbered(count), members=tuple(members[:count]))
        counted.append(len(queries))
    assert counted[0] == counted[1]


def test_activation_waits_for_what_is_leaving_and_says_what_still_is(ana_and_bob: TestList) -> None:
    left = [3, 2, 0]

    def leaving(**_: object) -> int:
        return left.pop(0) if len(left) > 1 else left[0]

    count_in_flight.connect(leaving)
    try:
        assert in_flight_count(ana_and_bob) == 0  # inactive: nothing is waited for
        ana_and_bob.active = True
        assert wait_until_none_in_flight(ana_and_bob) == 0
        left[:] = [1]
        assert wait_until_none_in_flight(ana_and_bob, seconds=0.2) == 1
    finally:
        count_in_flight.disconnect(leaving)
