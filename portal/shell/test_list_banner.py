"""The banner on an app's pages while a test list catches the app's mail in any stage."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from django.db.models.functions import Now
from django.utils.functional import SimpleLazyObject

from organization.recipient_policy.changes import policy_in_force
from organization.recipient_policy.policy import RecipientPolicy
from testlists.models import TestList
from testlists.services import waits_for_decision

if TYPE_CHECKING:
    from django.http import HttpRequest


class TestListBanner(TypedDict, total=False):
    """`active_test_lists` is missing on pages that belong to no app. Every member may read every test list."""

    # Asked for by pages that show them, not by parts of pages.
    active_test_lists: SimpleLazyObject[list[TestList]]
    expired_test_lists: SimpleLazyObject[list[TestList]]  # they hold the app's mail
    test_lists_elsewhere: SimpleLazyObject[list[TestList]]  # both kinds in stages that the page doesn't show


def test_list_banner(request: HttpRequest) -> TestListBanner:
    """The context processor. A page belongs to the app whose key is in its address, and to the stage, if it has one."""
    kwargs = request.resolver_match.kwargs if request.resolver_match else {}
    key, stage_key = kwargs.get("app_key"), kwargs.get("stage_key")
    member = getattr(request, "user", None)
    if key is None or member is None or not member.is_authenticated:
        return {}
    lists = TestList.objects.filter(app__key=key, active=True, stage__archived=False).annotate(now=Now())
    rows = lists.select_related("app", "stage").order_by("stage__order", "stage__name")

    def is_here(row: TestList) -> bool:
        return stage_key is None or row.stage.key == stage_key

    return {
        "active_test_lists": SimpleLazyObject(lambda: [row for row in rows if is_here(row) and _catches(row, row.now)]),
        "expired_test_lists": SimpleLazyObject(
            lambda: [row for row in rows if is_here(row) and waits_for_decision(row, row.now)]
        ),
        "test_lists_elsewhere": SimpleLazyObject(lambda: [row for row in rows if not is_here(row) and _is_told(row)]),
    }


def _is_told(row: Any) -> bool:
    """Whether the list catches or holds the app's mail. `is_held` says which."""
    row.is_held = waits_for_decision(row, row.now)
    return row.is_held or _catches(row, row.now)


def _catches(test_list: TestList, now: datetime) -> bool:
    """Whether the people on the list get the app's mail. Where the stage captures everything nobody does."""
    return test_list.is_active(now) and policy_in_force(test_list.stage, now) != RecipientPolicy.NOBODY
