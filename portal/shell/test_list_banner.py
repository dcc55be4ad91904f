"""The banner on an app's pages while a test list catches the app's mail in any stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from django.db.models import QuerySet

from testlists.models import TestList

if TYPE_CHECKING:
    from django.http import HttpRequest


class TestListBanner(TypedDict, total=False):
    """`active_test_lists` is missing on pages that belong to no app. Every member may read every test list."""

    active_test_lists: QuerySet[TestList]  # asked for by pages that show it, not by parts of pages


def test_list_banner(request: HttpRequest) -> TestListBanner:
    """The context processor. A page belongs to the app whose key is in its address."""
    key = request.resolver_match.kwargs.get("app") if request.resolver_match else None
    member = getattr(request, "user", None)
    if key is None or member is None or not member.is_authenticated:
        return {}
    lists = TestList.objects.filter(app__key=key, active=True, stage__archived=False)
    return {"active_test_lists": lists.select_related("app", "stage").order_by("stage__order", "stage__name")}
