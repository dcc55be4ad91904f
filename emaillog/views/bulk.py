"""Actions on many emails: the preview, the start, the progress, and a list of all."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.text import slugify
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from emaillog.bulk.forms import BulkForm
from emaillog.bulk.selection import query_of
from emaillog.bulk.service import PREVIEWED_AT_MOST, Plan, may_see, plan, start, stop
from emaillog.models import BulkAction
from emaillog.views.may_act import require_may_act
from organization.access import EVERYWHERE, allowed
from organization.forms import add_refusal
from organization.models import Member
from organization.permissions import Permission
from organization.web.http import MemberRequest
from outbox.access.visibility import wide_log_access
from outbox.bulk.checks import ENDING, Act

_SHOWN_AT_MOST = 50


@require_http_methods(["GET", "POST"])
@never_cache
def new(request: MemberRequest) -> HttpResponse:
    """Show what the action would do; POST begins it. The emails are those that were ticked, or all that match."""
    require_may_act(request.user)
    wide_log_access(request.user)
    act, query = _act(request.GET.get("act", "")), _query(request.GET)
    form = BulkForm(request.POST if request.method == "POST" else _options(request.GET, act), act)
    if form.is_bound and not form.is_valid():
        return _page(request, form, query, None)
    try:
        planned = plan(form.request(query), request.user)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect(f"{reverse('email-log')}?{query}")
    if request.method == "GET":
        return _page(request, form, query, planned)
    try:
        action = start(form.request(query), request.user, typed_stage_name=form.cleaned_data.get("stage_name") or "")
    except ValidationError as error:
        add_refusal(form, error)
        return _page(request, form, query, planned)
    return redirect("bulk-action", action.pk)


@require_safe
@never_cache
def progress(request: MemberRequest, action_id: int) -> HttpResponse:
    action = _find(request.user, action_id)
    template = "emaillog/bulk/_progress.html" if request.htmx else "emaillog/bulk/action.html"
    return render(request, template, {"action": action, "state": BulkAction.State})


@require_POST
def stop_action(request: MemberRequest, action_id: int) -> HttpResponse:
    action = _find(request.user, action_id)
    if stop(action, request.user):
        messages.success(request, "Stopped. What wasn't reached stays as it is. Emails that are in the queue already still go.")
    else:
        messages.error(request, "It has ended already.")
    return redirect("bulk-action", action.pk)


@require_safe
def actions(request: MemberRequest) -> HttpResponse:
    """The newest actions: one's own, and those of others for members who may resend everywhere."""
    require_may_act(request.user)
    rows = BulkAction.objects.all()
    if not allowed(request.user, EVERYWHERE, Permission.RESEND_MAIL):
        rows = rows.filter(member=request.user)
    return render(request, "emaillog/bulk/actions.html", {"actions": rows[:_SHOWN_AT_MOST]})


def _find(member: Member, action_id: int) -> BulkAction:
    require_may_act(member)
    action = get_object_or_404(BulkAction, pk=action_id)
    if not may_see(action, member):
        raise Http404
    return action


def _act(text: str) -> Act:
    try:
        return Act(slugify(text))
    except ValueError:
        raise Http404 from None


def _query(data: QueryDict) -> str:
    """The log's query. Without “all” it is about the ticked emails."""
    if data.get("all") or not data.getlist("number"):
        return query_of(data)
    return query_of(data, numbers=data.getlist("number"))


def _options(data: QueryDict, act: Act) -> QueryDict | None:
    """The preview's own choices, when a person changed one of them and asks for the numbers again."""
    return data if "to" in data and act == Act.RESEND else None


def _page(request: MemberRequest, form: BulkForm, query: str, planned: Plan | None) -> HttpResponse:
    if planned is not None:
        form.ask_for_stage_name([stage.name for stage in planned.production])
    values = form.cleaned_data if form.is_bound and form.is_valid() else form.initial
    context = {
        "act": form.act,
        "form": form,
        "planned": planned,
        "previewed": PREVIEWED_AT_MOST,
        "targets": sorted(planned.preview.targets.items(), key=lambda item: item[0].stage.order) if planned else [],
        "left_out": planned.preview.left_out.most_common() if planned else [],
        "is_final": form.act in ENDING,
        "kept": [(name, value) for name, value in QueryDict(query).items()],
        "log_url": f"{reverse('email-log')}?{query}",
        "command": _command(form.act, query, values),
    }
    return render(request, "emaillog/bulk/preview.html", context, status=422 if form.errors else 200)


def _command(act: Act, query: str, values: Mapping[str, object]) -> str:
    parts = [f"manage.py messages {act.value} --filter '{query}'"]
    if act == Act.RESEND:
        parts += ["--everybody"] if values.get("to") == "everybody" else []
        parts.append(f"--codes-minutes {values.get('codes_minutes') or 0}")
    return " ".join(parts)
