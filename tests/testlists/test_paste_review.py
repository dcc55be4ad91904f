"""What is pasted, checked before it is saved: the preview and Save must say the same."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from organization.models import App, Member, Stage
from testlists.models import TestList
from testlists.services import test_list_of
from tests.support.portal import make_member, signed_in
from tests.support.testlists import EDIT, SECTION, keep_list, numbered, on_list, typed

pytestmark = pytest.mark.same_on_both

PREVIEW = f"{SECTION}preview/"


def verdicts(answer: Any) -> list[str]:
    assert answer.status_code == 200
    return [row.kind for row in answer.context["preview"].rows]


def test_each_entry_is_judged(as_developer: Client, ana_and_bob: TestList, viewer: Member) -> None:
    first = "Name\tE-mail\nAna\tANA@example.com\nBob\tbob@EXAMPLE.com\nCarl\tcarl@example.com\ncarl@example.com\n"
    pasted = f"{first}Another Name\t{viewer.email.upper()}\nrubbish\n{'n' * 101}\tdora@example.com"
    answer = as_developer.post(PREVIEW, typed(ana_and_bob, add=pasted))
    assert verdicts(answer) == ["titles", "added", "listed", "added", "twice", "member", "wrong", "wrong"]
    page = answer.content.decode()
    assert "Will be added: 3" in page
    assert "Not an address: 2" in page
    assert "“rubbish” isn&#x27;t an email address" in page
    assert "This is a member&#x27;s address." in page
    assert "Vera Viewer" in page  # not “Another Name”
    assert "<strong>5 of 100</strong> after Save" in page
    assert "correct the wrong entries first" in page
    assert page.index("rubbish") < page.index("Carl")  # what is wrong comes first
    assert "<html" not in page


def test_who_is_kept_or_ticked_counts(as_developer: Client, ana_and_bob: TestList, viewer: Member) -> None:
    data = typed(ana_and_bob, keep=["abob@example.com"], members=[viewer.pk], add=f"ana@example.com, {viewer.email}")
    answer = as_developer.post(PREVIEW, data)
    assert verdicts(answer) == ["added", "listed"]
    assert answer.context["preview"].after == 3


def test_nothing_pasted_says_how_many_stay(as_developer: Client, ana_and_bob: TestList) -> None:
    answer = as_developer.post(PREVIEW, typed(ana_and_bob))
    assert "<strong>2 of 100</strong> after Save." in answer.content.decode()
    assert "<table" not in answer.content.decode()


def test_too_many_people_are_told(as_developer: Client, ana_and_bob: TestList) -> None:
    page = as_developer.post(PREVIEW, typed(ana_and_bob, add="\n".join(numbered(99)))).content.decode()
    assert "<strong>101 of 100</strong>" in page
    assert "too many" in page


def test_a_thousand_entries_are_checked_and_no_more(as_developer: Client, ana_and_bob: TestList) -> None:
    answer = as_developer.post(PREVIEW, typed(ana_and_bob, add="\n".join(["x"] * 1_000)))
    assert len(answer.context["preview"].wrong) == 1_000
    assert answer.content.decode().count("<tr>") == 101
    assert "… and 900 more." in answer.content.decode()
    answer = as_developer.post(PREVIEW, typed(ana_and_bob, add="\n".join(["x"] * 1_001)))
    assert answer.status_code == 200
    assert "A test list has at most 100 addresses. You pasted 1,001." in answer.content.decode()


def test_the_check_button_shows_the_same_without_javascript(
    as_developer: Client, ana_and_bob: TestList, crm: App, qa: Stage
) -> None:
    data = typed(ana_and_bob, add="Carl\tcarl@example.com\nrubbish", active="on", keep=["aana@example.com"], check="1")
    answer = as_developer.post(EDIT, data)
    assert verdicts(answer) == ["added", "wrong"]
    page = answer.content.decode()
    assert "Carl\tcarl@example.com" in page
    assert "2 of 100" in page
    assert "Nothing was saved yet" not in page
    assert [row.kept for row in answer.context["people"]] == [True, False]
    assert on_list(crm, qa) == ["ana@example.com", "bob@example.com"]


def test_a_preview_stores_nothing(as_developer: Client, ana_and_bob: TestList, crm: App, qa: Stage) -> None:
    as_developer.post(PREVIEW, typed(ana_and_bob, keep=[], add="carl@example.com", active="on", tag_subject="on"))
    test_list = test_list_of(crm, qa)
    assert (test_list.version, test_list.active, on_list(crm, qa)) == (
        ana_and_bob.version,
        False,
        ["ana@example.com", "bob@example.com"],
    )


def test_htmx_is_told_in_a_sentence_to_read_out(as_developer: Client, ana_and_bob: TestList) -> None:
    data = typed(ana_and_bob, add="carl@example.com, ana@example.com")
    page = as_developer.post(PREVIEW, data, headers={"HX-Request": "true"}).content.decode()
    assert 'id="paste-status"' in page
    assert "Will be added: 1. Already on the list: 1. 3 of 100 after Save." in page


@pytest.mark.parametrize(
    "forged",
    [
        {"add": "a\0b@example.com"},
        {"add": "<script>alert(1)</script>"},
        {"add": b"\xed\xa0\x80@example.com"},
        {"add": "\u202e@\u2066\n" * 50},
        {"add": "@" * 100_000},
        {"add": "\t" * 100_000},
        {"add": '"' * 100_000},
        {"members": ["x", "9" * 40]},
        {"keep": ["nobody", ""]},
        {"version": "x"},
        {"active": "on", "stage_name": "\0"},
    ],
)
def test_rubbish_breaks_nothing(as_developer: Client, ana_and_bob: TestList, forged: dict[str, Any]) -> None:
    for data in (forged, typed(ana_and_bob, **forged)):
        for path in (PREVIEW, EDIT):
            answer = as_developer.post(path, {**data, "check": "1"})
            assert answer.status_code == 200
            assert "<script>alert" not in answer.content.decode()


def test_names_are_shown_as_text(as_developer: Client, ana_and_bob: TestList) -> None:
    page = as_developer.post(PREVIEW, typed(ana_and_bob, add="<script>alert(1)</script>\tcarl@example.com")).content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


def test_a_member_who_may_not_edit_gets_no_preview(
    as_viewer: Client, as_developer: Client, ana_and_bob: TestList, shop: App
) -> None:
    assert as_viewer.post(PREVIEW, typed(ana_and_bob)).status_code == 403
    assert as_developer.post("/apps/shop/configuration/emails/qa/preview/", {}).status_code == 403
    assert Client().post(PREVIEW)["Location"] == f"/accounts/login/?next={PREVIEW}"


@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_a_preview_is_posted(as_administrator: Client, crm: App, qa: Stage, method: str) -> None:
    assert getattr(as_administrator, method)(PREVIEW).status_code == 405


@pytest.mark.parametrize("place", ["nothing/configuration/emails/qa", "crm/configuration/emails/nowhere"])
def test_an_app_or_stage_that_is_not_there_is_not_found(as_administrator: Client, crm: App, qa: Stage, place: str) -> None:
    assert as_administrator.post(f"/apps/{place}/preview/").status_code == 404


_PEOPLE = ["Ana", "ana@example.com", "ANA@example.com", "ana@EXAMPLE.com", "Bob B. <bob@example.com>", "carl@example.com"]
_OTHERS = ["vera.viewer@acme.example", "Vera.VIEWER@acme.example", "Email", "Name", '"Silva, Ana"', "x@", "jörg@bücher.example"]
_CELLS = st.one_of(
    st.sampled_from([*_PEOPLE, *_OTHERS]),
    st.text(alphabet='aB@.<>"\\,;\t \n\u200b\u202e', max_size=12),
    st.text(max_size=12),
)
_TEXTS = st.lists(st.lists(_CELLS, max_size=3).map("\t".join), max_size=6).map("\n".join)


@pytest.mark.slow
@given(text=_TEXTS)
@example(text="Name\tE-mail\nAna\tana@example.com")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_the_preview_says_is_added_is_what_save_adds(
    ana_and_bob: TestList, developer: Member, viewer: Member, text: str
) -> None:
    crm, qa = ana_and_bob.app, ana_and_bob.stage
    before = keep_list(crm, qa, "ana@example.com", "bob@example.com")
    client = signed_in(developer)
    client.raise_request_exception = True
    data = typed(before, add=text.encode("utf-8", "replace").decode())
    preview = client.post(PREVIEW, data).context["preview"]
    saved = client.post(EDIT, data)
    after = [str(person) for person in test_list_of(crm, qa).people()]
    if preview is None or preview.wrong:
        assert saved.status_code == 422
        assert after == ["ana@example.com", "bob@example.com"]
    else:
        assert saved.status_code == 302
        assert sorted(after) == sorted(["ana@example.com", "bob@example.com", *map(str, preview.added)])
        assert len(after) == preview.after


def test_a_preview_of_many_asks_the_database_no_more_than_one_of_one(
    as_developer: Client, ana_and_bob: TestList, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        make_member(f"Member {number}")
    pasted = "\n".join([*numbered(60), *(f"member.{number}@acme.example" for number in range(20))])
    with django_assert_max_num_queries(13):
        answer = as_developer.post(PREVIEW, typed(ana_and_bob, add=pasted))
    assert len(verdicts(answer)) == 80
