"""The guarantee of a stage: the page, the same as JSON, and the proof."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST, require_safe

from analytics.guarantee.document import export
from analytics.guarantee.forms import RANGES, PeriodForm, ProofForm
from analytics.guarantee.page import email_links, rule_rows, span_bar
from analytics.guarantee.proof import Stop, provable_apps, prove, stop_of
from analytics.guarantee.report import Guarantee, guarantee_of
from analytics.rollup import LAG
from common.clock import database_now
from organization.access import Scope, allowed, require
from organization.forms import add_refusal
from organization.models import Stage
from organization.permissions import Permission
from organization.web.http import MemberRequest, is_row_number, stage_links
from organization.web.last_stage import last_stage
from outbox.access.visibility import LogAccess, log_access
from outbox.models import Source

SHOWN_AT_MOST = 100


@require_safe
def choose(request: MemberRequest) -> HttpResponse:
    """Open the guarantee of the stage that the member looked at last."""
    stage = last_stage(request)
    if stage is None:
        raise Http404
    return redirect("guarantee", stage.key)


@require_safe
def show(request: MemberRequest, stage_key: str) -> HttpResponse:
    return _page(request, _access(request, stage_key))


@require_GET
@never_cache
def download(request: MemberRequest, stage_key: str) -> HttpResponse:
    """The same as JSON. The audit trail keeps its SHA-256."""
    access, now, period = _access(request, stage_key), database_now(), PeriodForm(request.GET)
    if not period.is_valid():
        return _page(request, access)
    document = export(guarantee_of(access, period.begin(now), now, each_app=True), request.user)
    name = f"guarantee-{access.stage.key}-{timezone.localdate():%Y-%m-%d}.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(document.text, content_type="application/json", headers=headers)


@require_POST
def prove_it(request: MemberRequest, stage_key: str) -> HttpResponse:
    """Send an app's email to an impossible address. For those who may send test mail in the stage."""
    access = _access(request, stage_key)
    require(request.user, Scope(stage=access.stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    form = ProofForm(request.POST, access.apps)
    if form.is_valid():
        try:
            message = prove(access.stage, form.cleaned_data["app"], request.user)
        except ValidationError as error:
            add_refusal(form, error)
        else:
            return redirect(f"{reverse('guarantee', args=[stage_key])}?proof={message.pk}#proof")
    return _page(request, access, proof_form=form)


def _access(request: MemberRequest, stage_key: str) -> LogAccess:
    return log_access(request.user, get_object_or_404(Stage, key=stage_key))


def _page(request: MemberRequest, access: LogAccess, proof_form: ProofForm | None = None) -> HttpResponse:
    now, stage = database_now(), access.stage
    period = PeriodForm(request.GET)
    guarantee = guarantee_of(access, period.begin(now), now, entries_at_most=SHOWN_AT_MOST)
    log_url = reverse("email-log", args=[stage.key])
    context = {
        "stage": stage,
        "stage_links": stage_links(stage, lambda other: f"{reverse('guarantee', args=[other.key])}?{period.query}"),
        "guarantee": guarantee,
        "total": guarantee.total,
        "rules": rule_rows(guarantee, log_url, period.chosen),
        "bar": span_bar(guarantee),
        "changes": guarantee.changes.rows,
        "more_changes": guarantee.changes.more,
        "acts": email_links(guarantee.acts.rows, stage),
        "more_acts": guarantee.acts.more,
        "behind": guarantee.counted_until if guarantee.counted_until and guarantee.counted_until < now - 3 * LAG else None,
        "period": period,
        "ranges": RANGES,
        "range": period.chosen,
        "json_url": f"{reverse('guarantee-json', args=[stage.key])}?{period.query}",
        "may_change": allowed(request.user, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS),
        **_proof(request, guarantee, proof_form),
    }
    refused = not period.is_valid() or proof_form is not None
    return render(request, "analytics/guarantee.html", context, status=422 if refused else 200)


def _proof(request: MemberRequest, guarantee: Guarantee, form: ProofForm | None) -> dict[str, Any]:
    """The form for those who may send it, and where the email stopped that was just sent."""
    access = guarantee.access
    if not allowed(request.user, Scope(stage=access.stage), Permission.MANAGE_EMAIL_CONFIGURATIONS):
        return {}
    apps = provable_apps(access.stage, access.apps, guarantee.until)
    return {"provable": bool(apps), "proof_form": form or ProofForm(None, apps), "proof": _stop(request, access)}


def _stop(request: MemberRequest, access: LogAccess) -> Stop | None:
    number = request.GET.get("proof", "")
    message = access.messages().filter(pk=number, via=Source.PORTAL).first() if is_row_number(number) else None
    return stop_of(message, access) if message else None
