"""The audit trail as a page: who did what, newest first, with what it changed."""

from __future__ import annotations

from typing import NamedTuple

from django import forms
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from organization.http import MemberRequest, is_row_number
from organization.models import App, AuditEvent, Member, Stage
from organization.permissions import EVERYWHERE, Permission, require

PAGE = 50


class AuditFilter(forms.Form):
    """What the address asks for. Each narrows by an index of its own, so that no page reads the whole trail."""

    member = forms.CharField(required=False, max_length=254, label="Member: the whole address")
    app = forms.ModelChoiceField(App.objects.all(), required=False, to_field_name="key", empty_label="All apps", label="App")
    stage = forms.ModelChoiceField(
        Stage.objects.all(), required=False, to_field_name="key", empty_label="All stages", label="Stage"
    )

    def events(self) -> QuerySet[AuditEvent]:
        """What matches, newest first. A filter that makes no sense matches nothing."""
        events = AuditEvent.objects.select_related("app", "stage").order_by("-pk")
        if not self.is_valid():
            return events.none()
        wanted = self.cleaned_data
        if wanted["member"]:
            events = events.filter(actor__in=Member.objects.filter(email__iexact=wanted["member"]))
        scope = {name: wanted[name] for name in ("app", "stage") if wanted[name]}
        return events.filter(**scope)


class Change(NamedTuple):
    """One value that an act set, changed or took away, in words."""

    name: str
    words: str


@require_safe
def audit_trail(request: MemberRequest) -> HttpResponse:
    """A page of the trail: the newest, or (`before`) what came before an entry (decision 6)."""
    require(request.user, EVERYWHERE, Permission.MANAGE_ORGANIZATION)
    asked = AuditFilter(request.GET)
    before = request.GET.get("before", "")
    events = asked.events()
    if is_row_number(before):
        events = events.filter(pk__lt=before)
    found = list(events[: PAGE + 1])
    shown = found[:PAGE]
    context = {
        "filter": asked,
        "filtered": any(request.GET.get(name) for name in asked.fields),
        "rows": [(event, changes_of(event)) for event in shown],
        "newer_url": _address(request, None) if is_row_number(before) else "",
        "older_url": _address(request, shown[-1].pk) if len(found) > PAGE else "",
    }
    return render(request, "organization/audit_trail.html", context)


def changes_of(event: AuditEvent) -> list[Change]:
    """By name. What is empty before and after says nothing."""
    changes = []
    for name in sorted({*event.before, *event.after}):
        before, after = _words(event.before.get(name)), _words(event.after.get(name))
        if before or after:
            both = f"{before or '–'} → {after or '–'}"
            changes.append(Change(name.replace("_", " "), both if event.before and event.after else before or after))
    return changes


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    return "" if value is None else str(value)


def _address(request: MemberRequest, before: int | None) -> str:
    """The same filters, from the newest entry or from another one."""
    query = request.GET.copy()
    query.pop("before", None)
    if before is not None:
        query["before"] = str(before)
    return f"?{query.urlencode()}"
