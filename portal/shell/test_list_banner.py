"""The banner on an app's pages while a test list catches the app's mail in any stage."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypedDict

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
    over_test_lists: SimpleLazyObject[list[TestList]]  # whose time is over, so that the app's mail is held


def test_list_banner(request: HttpRequest) -> TestListBanner:
    """The context processor. A page belongs to the app whose key is in its address."""
    key = request.resolver_match.kwargs.get("app_key") if request.resolver_match else None
    member = getattr(request, "user", None)
    if key is None or member is None or not member.is_authenticated:
        return {}
    lists = TestList.objects.filter(app__key=key, active=True, stage__archived=False).annotate(now=Now())
    rows = lists.select_related("app", "stage").order_by("stage__order", "stage__name")
    return {
        "active_test_lists": SimpleLazyObject(lambda: [row for row in rows if _catches(row, row.now)]),
        "over_test_lists": SimpleLazyObject(lambda: [row for row in rows if waits_for_decision(row, row.now)]),
    }


def _catches(test_list: TestList, now: datetime) -> bool:
    """Whether the people on the list get the app's mail. Where the stage captures everything nobody does."""
    return test_list.is_active(now) and policy_in_force(test_list.stage, now) != RecipientPolicy.NOBODY
