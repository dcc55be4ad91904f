"""A test list's pages: view mode as a part of the app's page, and edit mode."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from common.clock import database_now
from organization.access import Scope, allowed, require
from organization.models import App, Member, Stage
from organization.permissions import Permission
from organization.recipient_policy.changes import policy_in_force
from organization.recipient_policy.policy import RecipientPolicy
from organization.web.http import MemberRequest, StageLink, is_row_number, search_words, stage_links
from testlists.forms import TestListForm
from testlists.models import TestList
from testlists.recent_mail import recent_mail_in_words
from testlists.services import (
    MAY_EDIT,
    in_flight_count,
    may_edit,
    save_test_list,
    sees_addresses,
    test_list_of,
    wait_until_none_in_flight,
    waits_for_decision,
)

_FOUND_AT_MOST = 20
# The buttons of the form that only change what it shows.
_STORES_NOTHING = {"find_members", "check", "remove", "put_back"}


def find_test_list(app_key: str, stage_key: str) -> TestList:
    """The list of the app in the stage, by their keys. Raises Http404."""
    app = get_object_or_404(App.objects.without_built_in(), key=app_key)
    return test_list_of(app, get_object_or_404(Stage, key=stage_key))


def frame_context(request: MemberRequest, test_list: TestList, url_name: str) -> dict[str, Any]:
    """The context of the frame of an app's page (testlists/app_base.html)."""
    app, stage = test_list.app, test_list.stage
    links: list[StageLink] = stage_links(stage, lambda other: reverse(url_name, args=[app.key, other.key]))
    can_edit_app = allowed(request.user, Scope(app=app), Permission.CHANGE_APPS)
    return {"app": app, "stage": stage, "stage_links": links, "can_edit_app": can_edit_app}


def view_context(request: MemberRequest, test_list: TestList) -> dict[str, object]:
    """The context of view mode.

    Every member may read it. Addresses are masked unless the member may see the recipients of mail.
    """
    is_open = sees_addresses(request.user, test_list.app, test_list.stage)
    now = database_now()
    is_active = test_list.is_active(now)
    return {
        "test_list": test_list,
        "is_active": is_active,
        "is_expired": test_list.is_expired(now),
        "waits_for_decision": waits_for_decision(test_list, now),
        "policy": policy_in_force(test_list.stage, now).value,
        "people": [(entry.person_for(sees_addresses=is_open), entry.is_member) for entry in test_list.present_entries()],
        "sees_addresses": is_open,
        "leaving": in_flight_count(test_list) if is_active else 0,
        "recent_mail": recent_mail_in_words(test_list),
        "can_edit": may_edit(request.user, test_list.app, test_list.stage),
    }


@require_http_methods(["GET", "POST"])
def edit(request: MemberRequest, app_key: str, stage_key: str) -> HttpResponse:
    """Edit mode: show the form and save it.

    For browsers without JavaScript, it also searches members, checks the pasted addresses, and removes a row.
    """
    test_list = find_test_list(app_key, stage_key)
    require(request.user, Scope(test_list.app, test_list.stage), *MAY_EDIT)
    is_open = sees_addresses(request.user, test_list.app, test_list.stage)
    form = TestListForm(_posted(request), test_list=test_list, sees_addresses=is_open)
    only_asked = not _STORES_NOTHING.isdisjoint(request.POST)
    if request.method == "POST" and form.is_valid() and not only_asked:
        try:
            saved = save_test_list(
                test_list.app, test_list.stage, form.change(), request.user, expected_version=form.cleaned_data["version"]
            )
        except ValidationError as error:
            form.add_service_error(error)
        else:
            _say_what_holds_now(request, saved)
            return redirect("app-emails", test_list.app.key, test_list.stage.key)
    now = database_now()
    context = {
        **frame_context(request, test_list, "app-emails-edit"),
        "policy": policy_in_force(test_list.stage, now).value,
        "is_expired": test_list.is_expired(now),
        "waits_for_decision": waits_for_decision(test_list, now),
        "form": form,
        "people": form.rows(),
        "sees_addresses": is_open,
        "found_members": _chosen_and_found(request),
        "member_query": request.POST.get("find", ""),
        "only_asked": only_asked,
        "preview": form.preview,
        "is_active": test_list.active,
        "is_missing": test_list.is_missing,
        "recent_mail": recent_mail_in_words(test_list),
    }
    return render(request, "testlists/emails_edit.html", context, status=422 if form.errors and not only_asked else 200)


@require_POST
def preview(request: MemberRequest, app_key: str, stage_key: str) -> HttpResponse:
    """Preview what Save would do with the pasted text, without storing anything."""
    test_list = find_test_list(app_key, stage_key)
    require(request.user, Scope(test_list.app, test_list.stage), *MAY_EDIT)
    is_open = sees_addresses(request.user, test_list.app, test_list.stage)
    form = TestListForm(request.POST, test_list=test_list, sees_addresses=is_open)
    form.full_clean()
    return render(request, "testlists/_preview.html", {"preview": form.preview, "refused": form.errors.get("add")})


@require_safe
def members(request: MemberRequest, app_key: str, stage_key: str) -> HttpResponse:
    """Search members while you type, and show check boxes to choose from."""
    test_list = find_test_list(app_key, stage_key)
    require(request.user, Scope(test_list.app, test_list.stage), *MAY_EDIT)
    matches = _search(search_words(request.GET, "find"), chosen=request.GET.getlist("members"))
    return render(request, "testlists/_found_members.html", {"found_members": matches})


def _posted(request: MemberRequest) -> QueryDict | None:
    """What was posted, without the person whose row's *Remove* was pressed, or again with the one of *Undo*."""
    if request.method != "POST":
        return None
    data = request.POST.copy()
    kept = [key for key in data.getlist("keep") if key != data.get("remove")]
    data.setlist("keep", [*kept, *data.getlist("put_back")])
    return data


def _say_what_holds_now(request: MemberRequest, saved: TestList) -> None:
    leaving = wait_until_none_in_flight(saved)
    if leaving:
        messages.warning(
            request,
            f"The test list was saved and catches every new email. It is still activating: {leaving} "
            "email(s) from before are still being sent.",
        )
    elif saved.active:
        messages.success(
            request, "The test list was saved. It is Active: only the people on it get this app's emails in this stage."
        )
    elif policy_in_force(saved.stage, database_now()) == RecipientPolicy.AS_APPS_ASK:
        messages.success(request, "The test list was saved. It is Inactive: emails go to the recipients that the app sets.")
    else:
        messages.success(request, "The test list was saved. It is Inactive.")


def _chosen_and_found(request: MemberRequest) -> list[Member] | None:
    """Chosen and matching members, or None if nothing was chosen or searched."""
    words = search_words(request.POST, "find")
    searched = bool(words) or "find_members" in request.POST
    return _search(words, chosen=request.POST.getlist("members")) or ([] if searched else None)


def _search(query: str, *, chosen: list[str]) -> list[Member]:
    """Members whose name or address contains `query`, with the chosen ones first."""
    active: QuerySet[Member] = Member.objects.filter(is_active=True)
    picked = list(active.filter(pk__in=[pk for pk in chosen if is_row_number(pk)]))
    matches = active.filter(Q(name__icontains=query) | Q(email__icontains=query)) if query else active.none()
    rows = [*picked, *matches.exclude(pk__in=[member.pk for member in picked])[:_FOUND_AT_MOST]]
    for row in rows:
        row.checked = row in picked  # type: ignore[attr-defined]
    return rows
