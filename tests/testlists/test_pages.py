from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from organization.exceptions import STALE
from organization.models import App, Member, Role, Stage
from organization.permissions import Permission
from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from testlists.models import TestList
from testlists.services import EMPTY_CANT_BE_ACTIVE, test_list_of
from tests.support.portal import OPERATOR, configure, make_member, signed_in
from tests.support.testlists import EDIT, SECTION, keep_list, numbered, on_list, typed

MEMBERS = f"{EDIT}members/"


def message_text(answer: Any) -> str:
    """Everything that the answered form has against what was typed."""
    assert answer.status_code == 422
    return " ".join(message for messages in answer.context["form"].errors.values() for message in messages)


def test_every_member_may_read_a_list(as_viewer: Client, ana_and_bob: TestList) -> None:
    page = as_viewer.get(SECTION).content.decode()
    assert "a•••@example.com" in page
    assert "Inactive" in page
    assert EDIT not in page


def test_the_page_of_an_active_list_says_that_nobody_else_gets_mail(as_viewer: Client, crm: App, qa: Stage) -> None:
    keep_list(crm, qa, "ana@example.com", active=True)
    page = as_viewer.get(SECTION).content.decode()
    assert "go only to" in page
    assert "this person" in page


@pytest.mark.parametrize(
    ("policy", "active", "sentence"),
    [
        (RecipientPolicy.NOBODY, True, "Active, but this stage captures everything"),
        (RecipientPolicy.NOBODY, False, "This stage captures all email"),
        (RecipientPolicy.LISTED_ONLY, False, "copy is captured"),
        (RecipientPolicy.LISTED_ONLY, True, "go only to"),
    ],
)
def test_the_page_says_what_the_stages_policy_makes_of_the_list(
    as_viewer: Client, crm: App, qa: Stage, policy: RecipientPolicy, active: bool, sentence: str
) -> None:
    keep_list(crm, qa, "ana@example.com", active=active)
    change_policy(qa, policy, OPERATOR)
    assert sentence in as_viewer.get(SECTION).content.decode()


def test_the_page_tells_whether_the_stage_can_send_at_all(as_viewer: Client, crm: App, qa: Stage) -> None:
    assert "QA has no SMTP settings" in as_viewer.get(SECTION).content.decode()
    configure(qa)
    assert "QA has no SMTP settings" not in as_viewer.get(SECTION).content.decode()


def test_people_are_added_kept_and_removed_and_the_list_switched_on(
    as_developer: Client, ana_and_bob: TestList, viewer: Member, crm: App, qa: Stage
) -> None:
    data = typed(
        ana_and_bob,
        keep=["abob@example.com"],
        members=[viewer.pk],
        add="Carl C. <carl@EXAMPLE.com>",
        active="on",
        tag_subject="on",
    )
    answer = as_developer.post(EDIT, data, follow=True)
    assert answer.redirect_chain == [(SECTION, 302)]
    assert "It is Active: only the people on it get this app&#x27;s emails in this stage." in answer.content.decode()
    test_list = test_list_of(crm, qa)
    assert test_list.active
    assert test_list.tag_subject
    assert [str(person) for person in test_list.people()] == [
        "Vera Viewer <vera.viewer@acme.example>",
        "bob@example.com",
        "Carl C. <carl@example.com>",
    ]


def test_saving_without_a_change_changes_nobody(as_developer: Client, ana_and_bob: TestList, crm: App, qa: Stage) -> None:
    assert as_developer.post(EDIT, typed(ana_and_bob)).status_code == 302
    assert on_list(crm, qa) == ["ana@example.com", "bob@example.com"]


def test_switching_off_says_that_mail_goes_out_again(as_developer: Client, crm: App, qa: Stage) -> None:
    test_list = keep_list(crm, qa, "ana@example.com", active=True)
    data = {name: value for name, value in typed(test_list).items() if name != "active"}
    assert (
        "It is Inactive: emails go to the recipients that the app sets."
        in as_developer.post(EDIT, data, follow=True).content.decode()
    )


@pytest.mark.parametrize(
    "pasted",
    [
        "carl@example.com\r\ndora@example.com\r\n",
        "carl@example.com, dora@example.com",
        "carl@example.com;dora@example.com;",
        "carl@example.com\tdora@example.com",
        '"Clark, Carl" <carl@example.com>, Dora <dora@example.com>',
    ],
)
def test_a_pasted_list_is_taken_apart(as_developer: Client, ana_and_bob: TestList, crm: App, qa: Stage, pasted: str) -> None:
    assert as_developer.post(EDIT, typed(ana_and_bob, add=pasted)).status_code == 302
    assert on_list(crm, qa)[2:] == ["carl@example.com", "dora@example.com"]


def test_rubbish_in_a_pasted_list_is_told_by_number_and_nothing_is_lost(
    as_developer: Client, ana_and_bob: TestList, crm: App, qa: Stage
) -> None:
    pasted = "carl@example.com\nrubbish\ndora@example.com, Eve <eve@>\n\u200bfred@example.com"
    answer = as_developer.post(EDIT, typed(ana_and_bob, add=pasted, active="on"))
    errors = answer.context["form"].errors["add"]
    assert [error.split(":")[0] for error in errors] == ["Entry 2", "Entry 4", "Entry 5"]
    assert "“rubbish” isn't an email address" in errors[0]
    page = answer.content.decode()
    assert "Eve &lt;eve@&gt;" in page  # what was typed is still there to be put right
    assert [row.kept for row in answer.context["people"]] == [True, True]
    assert on_list(crm, qa) == ["ana@example.com", "bob@example.com"]


def test_of_many_errors_the_first_ten_are_told(as_developer: Client, ana_and_bob: TestList) -> None:
    answer = as_developer.post(EDIT, typed(ana_and_bob, add="\n".join(["rubbish"] * 50)))
    errors = answer.context["form"].errors["add"]
    assert (len(errors), errors[-1]) == (11, "… and 40 more.")


@pytest.mark.parametrize("separator", ["\n", ","])
def test_ten_thousand_pasted_addresses_are_answered_with_at_most_100(
    as_developer: Client, ana_and_bob: TestList, separator: str, crm: App, qa: Stage
) -> None:
    answer = as_developer.post(EDIT, typed(ana_and_bob, add=separator.join(numbered(10_000))))
    assert message_text(answer) == "A test list has at most 100 addresses. You pasted 10,000."
    assert len(on_list(crm, qa)) == 2


def test_the_hundred_and_first_is_refused(as_developer: Client, ana_and_bob: TestList, crm: App, qa: Stage) -> None:
    assert message_text(as_developer.post(EDIT, typed(ana_and_bob, add="\n".join(numbered(99))))).endswith("would have 101.")
    assert as_developer.post(EDIT, typed(ana_and_bob, add="\n".join(numbered(98)))).status_code == 302
    assert len(on_list(crm, qa)) == 100


@pytest.mark.parametrize(
    ("pasted", "after"),
    [
        ("ana@example.com", []),
        ("ana@EXAMPLE.com", []),
        ("carl@example.com\ncarl@Example.com", ["carl@example.com"]),
        ("x <ana@example.com>, dora@example.com", ["dora@example.com"]),
    ],
)
def test_a_person_who_is_pasted_twice_or_already_on_the_list_is_on_it_once(
    as_developer: Client, ana_and_bob: TestList, crm: App, qa: Stage, pasted: str, after: list[str]
) -> None:
    assert as_developer.post(EDIT, typed(ana_and_bob, add=pasted)).status_code == 302
    assert on_list(crm, qa) == ["ana@example.com", "bob@example.com", *after]
    assert not test_list_of(crm, qa).addresses.exclude(name="").exists()


def test_an_empty_list_is_not_activated(as_developer: Client, crm: App, qa: Stage) -> None:
    answer = as_developer.post(EDIT, {"version": 0, "active": "on"})
    assert answer.context["form"].errors["active"] == [EMPTY_CANT_BE_ACTIVE]
    assert answer.status_code == 422
    assert not test_list_of(crm, qa).active


def test_an_active_list_is_not_emptied(as_developer: Client, crm: App, qa: Stage) -> None:
    test_list = keep_list(crm, qa, "ana@example.com", active=True)
    assert EMPTY_CANT_BE_ACTIVE in message_text(as_developer.post(EDIT, typed(test_list, keep=[])))
    assert (test_list_of(crm, qa).active, on_list(crm, qa)) == (True, ["ana@example.com"])


def test_a_stale_save_is_refused_and_overwrites_nothing(as_developer: Client, ana_and_bob: TestList, crm: App, qa: Stage) -> None:
    keep_list(crm, qa, "carl@example.com", active=True)
    answer = as_developer.post(EDIT, typed(ana_and_bob, version=1, keep=["aana@example.com"]))
    assert message_text(answer) == STALE
    assert (test_list_of(crm, qa).active, on_list(crm, qa)) == (True, ["carl@example.com"])


@pytest.mark.parametrize(
    "forged",
    [
        {"version": ""},
        {"version": "x"},
        {"version": "9" * 40},
        {"members": ["x"]},
        {"members": ["0"]},
        {"members": ["9" * 40]},
        {"members": ["-1"]},
        {"members": ["٣"]},
        {"add": "a\0b@example.com"},
        {"find": "\0"},
    ],
)
def test_forged_values_are_answered_422(
    as_developer: Client, ana_and_bob: TestList, crm: App, qa: Stage, forged: dict[str, Any]
) -> None:
    assert as_developer.post(EDIT, typed(ana_and_bob, **forged)).status_code == 422
    assert on_list(crm, qa) == ["ana@example.com", "bob@example.com"]


def test_a_removed_member_is_neither_found_nor_taken(as_developer: Client, ana_and_bob: TestList, viewer: Member) -> None:
    Member.objects.filter(pk=viewer.pk).update(is_active=False)
    assert "Vera" not in as_developer.get(MEMBERS, {"find": "vera"}).content.decode()
    assert as_developer.post(EDIT, typed(ana_and_bob, members=[viewer.pk])).status_code == 422


def test_keys_that_are_not_on_the_list_add_nobody(
    as_developer: Client, ana_and_bob: TestList, viewer: Member, crm: App, qa: Stage
) -> None:
    keep = ["aana@example.com", f"m{viewer.pk}", "aeve@example.com", "", "\u0661"]
    assert as_developer.post(EDIT, typed(ana_and_bob, keep=keep)).status_code == 302
    assert on_list(crm, qa) == ["ana@example.com"]


@pytest.mark.parametrize(
    ("find", "expected"),
    [
        ("vera", ["Vera Viewer"]),
        ("ACME.example", ["Ada Admin", "Devon Dev", "Vera Viewer"]),
        ("nobody", []),
        ("", []),
        ("%", []),
        ("_", []),
    ],
)
def test_members_are_found_while_typing_and_without_javascript(
    as_developer: Client, administrator: Member, viewer: Member, ana_and_bob: TestList, find: str, expected: list[str]
) -> None:
    fragment = as_developer.get(MEMBERS, {"find": find})
    page = as_developer.post(EDIT, typed(ana_and_bob, find=find, find_members="1"))
    for answer in (fragment, page):
        assert answer.status_code == 200
        assert [member.name for member in answer.context["found_members"]] == expected
    assert "<html" not in fragment.content.decode()


def test_a_search_stores_nothing_and_keeps_what_was_typed_and_ticked(
    as_developer: Client, administrator: Member, viewer: Member, ana_and_bob: TestList, crm: App, qa: Stage
) -> None:
    data = typed(
        ana_and_bob, keep=["abob@example.com"], members=[viewer.pk], add="half-typed@", active="on", find="ada", find_members="1"
    )
    answer = as_developer.post(EDIT, data)
    page = answer.content.decode()
    assert answer.status_code == 200
    assert [(row.name, row.checked) for row in answer.context["found_members"]] == [("Vera Viewer", True), ("Ada Admin", False)]
    assert [row.kept for row in answer.context["people"]] == [False, True]
    assert "half-typed@" in page
    assert 'value="ada"' in page
    assert test_list_of(crm, qa).version == ana_and_bob.version


def test_the_example_of_a_tagged_subject_is_of_this_stage(as_administrator: Client, crm: App, production: Stage) -> None:
    page = as_administrator.get("/apps/crm/configuration/emails/production/edit/").content.decode()
    assert "“Welcome” becomes “[Production] Welcome” in test mail." in page


def test_a_refused_save_says_nothing_about_members_nobody_searched_for(as_developer: Client, ana_and_bob: TestList) -> None:
    refused = as_developer.post(EDIT, typed(ana_and_bob, add="half-typed@"))
    assert refused.status_code == 422
    assert "No member matches" not in refused.content.decode()
    assert "No member matches" in as_developer.post(EDIT, typed(ana_and_bob, find="nobody", find_members="1")).content.decode()


@pytest.mark.parametrize("find", ["\0", "x" * 5000, "'\"<script>alert(1)</script>"])
@pytest.mark.parametrize("chosen", [[], ["x", "-1", "9" * 40, "²"]])
def test_a_search_for_rubbish_breaks_nothing(as_developer: Client, ana_and_bob: TestList, find: str, chosen: list[str]) -> None:
    for answer in (
        as_developer.get(MEMBERS, {"find": find, "members": chosen}),
        as_developer.post(EDIT, typed(ana_and_bob, find=find, members=chosen, find_members="1")),
    ):
        assert answer.status_code == 200
        assert "<script>alert" not in answer.content.decode()


def test_at_most_twenty_members_are_shown(as_developer: Client, crm: App, qa: Stage) -> None:
    for number in range(25):
        make_member(f"Many {number}")
    assert len(as_developer.get(MEMBERS, {"find": "many"}).context["found_members"]) == 20


def test_a_developer_of_one_app_edits_its_lists_in_every_stage_and_no_others(
    as_developer: Client, crm: App, shop: App, qa: Stage, production: Stage
) -> None:
    data = {"version": 0, "add": "ana@example.com"}
    for stage in (qa, production):
        assert as_developer.post(f"/apps/crm/configuration/emails/{stage.key}/edit/", data).status_code == 302
    shop_edit = "/apps/shop/configuration/emails/qa/edit/"
    for answer in (as_developer.get(shop_edit), as_developer.post(shop_edit, data), as_developer.get(f"{shop_edit}members/")):
        assert answer.status_code == 403
    assert on_list(shop, qa) == []


def test_a_viewer_may_not_edit(as_viewer: Client, ana_and_bob: TestList, crm: App, qa: Stage) -> None:
    for answer in (as_viewer.get(EDIT), as_viewer.post(EDIT, typed(ana_and_bob, keep=[])), as_viewer.get(MEMBERS, {"find": "a"})):
        assert answer.status_code == 403
    assert len(on_list(crm, qa)) == 2


def test_manage_email_configurations_allows_test_lists_too(ana_and_bob: TestList, crm: App, qa: Stage) -> None:
    role = Role.objects.create(name="Mail team", permissions=[Permission.MANAGE_EMAIL_CONFIGURATIONS.value])
    client = signed_in(make_member("Max Manager", role))
    assert EDIT in client.get(SECTION).content.decode()
    assert client.post(EDIT, typed(ana_and_bob, keep=[])).status_code == 302
    assert on_list(crm, qa) == []


@pytest.mark.parametrize("path", [SECTION, EDIT, MEMBERS])
def test_nobody_signed_in_is_sent_to_sign_in(client: Client, ana_and_bob: TestList, path: str) -> None:
    for answer in (client.get(path), client.post(path, typed(ana_and_bob, keep=[]))):
        assert answer["Location"] == f"/accounts/login/?next={path}"
    assert ana_and_bob.addresses.count() == 2


@pytest.mark.parametrize(
    ("method", "path"), [("post", SECTION), ("post", MEMBERS), ("put", EDIT), ("delete", EDIT), ("patch", SECTION)]
)
def test_other_methods_are_not_allowed(as_administrator: Client, crm: App, qa: Stage, method: str, path: str) -> None:
    assert getattr(as_administrator, method)(path).status_code == 405


@pytest.mark.parametrize("place", ["nothing/configuration/emails/qa", "crm/configuration/emails/nowhere"])
@pytest.mark.parametrize("page", ["", "edit/", "edit/members/"])
def test_an_app_or_stage_that_is_not_there_is_not_found(
    as_administrator: Client, crm: App, qa: Stage, place: str, page: str
) -> None:
    assert as_administrator.get(f"/apps/{place}/{page}").status_code == 404
    assert TestList.objects.count() == 1  # of crm in QA


def test_names_are_shown_as_text(as_developer: Client, viewer: Member, crm: App, qa: Stage) -> None:
    name = "<script>alert(1)</script>\"'"
    Member.objects.filter(pk=viewer.pk).update(name=name)
    answer = as_developer.post(EDIT, {"version": 0, "members": [viewer.pk], "add": "<script>alert(2)</script> <ana@example.com>"})
    assert answer.status_code == 422  # brackets in a name without quotes are two entries
    pages = [answer, as_developer.get(MEMBERS, {"find": "vera"})]
    as_developer.post(EDIT, {"version": 0, "members": [viewer.pk], "add": '"<script>alert(2)</script>" <ana@example.com>'})
    assert len(on_list(crm, qa)) == 2
    pages += [as_developer.get(SECTION), as_developer.get(EDIT)]
    for page in pages:
        assert "<script>alert" not in page.content.decode()
        assert "&lt;script&gt;alert" in page.content.decode()


@pytest.mark.parametrize("path", [SECTION, EDIT])
def test_a_page_of_a_hundred_people_asks_the_database_no_more_than_one_of_one(
    as_developer: Client, crm: App, qa: Stage, path: str
) -> None:
    members = [make_member(f"Member {number}") for number in range(50)]
    counted = []
    for addresses, chosen in ((1, 1), (50, 50)):
        keep_list(crm, qa, *numbered(addresses), members=tuple(members[:chosen]))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert as_developer.get(path).status_code == 200
        counted.append(len(queries))
    assert counted[0] == counted[1]


@pytest.mark.parametrize(
    ("button", "before", "after"),
    [
        ({"remove": "aana@example.com"}, [True, True], [False, True]),
        ({"put_back": "aana@example.com"}, [False, True], [True, True]),
        ({"remove": "rubbish"}, [True, True], [True, True]),
    ],
)
def test_a_rows_button_removes_a_person_from_the_form_and_puts_them_back(
    as_developer: Client,
    ana_and_bob: TestList,
    crm: App,
    qa: Stage,
    button: dict[str, str],
    before: list[bool],
    after: list[bool],
) -> None:
    keep = [key for key, kept in zip(["aana@example.com", "abob@example.com"], before, strict=True) if kept]
    answer = as_developer.post(EDIT, typed(ana_and_bob, keep=keep, add="half-typed@", **button))
    assert answer.status_code == 200
    assert [row.kept for row in answer.context["people"]] == after
    assert "half-typed@" in answer.content.decode()
    assert on_list(crm, qa) == ["ana@example.com", "bob@example.com"]


def test_a_domain_without_a_dot_is_asked_about_once(as_developer: Client, ana_and_bob: TestList, crm: App, qa: Stage) -> None:
    asked = as_developer.post(EDIT, typed(ana_and_bob, add="root@localhost\ncarl@example.com"))
    assert asked.status_code == 422
    assert asked.context["form"].errors == {
        "add": ["Is the domain complete? It has no dot: root@localhost. Correct it, or confirm it below."]
    }
    assert 'name="complete"' in asked.content.decode()
    assert on_list(crm, qa) == ["ana@example.com", "bob@example.com"]
    confirmed = as_developer.post(EDIT, typed(ana_and_bob, add="root@localhost\ncarl@example.com", complete="on"))
    assert confirmed.status_code == 302
    assert on_list(crm, qa) == ["ana@example.com", "bob@example.com", "root@localhost", "carl@example.com"]
    again = as_developer.post(EDIT, typed(test_list_of(crm, qa), add="dora@example.com"))
    assert again.status_code == 302  # who is on the list already isn't asked about
    assert 'name="complete"' not in as_developer.get(EDIT).content.decode()
