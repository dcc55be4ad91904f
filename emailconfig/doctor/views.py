"""Test connection: test the form's settings, saved or not, and watch each step."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.core.exceptions import NON_FIELD_ERRORS
from django.forms import Form, ModelForm
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from emailconfig.doctor import runs
from emailconfig.doctor.examination import Finding, is_healthy
from emailconfig.exceptions import TooManyTests
from emailconfig.forms import RecipientForm, SmtpSettingsForm
from emailconfig.models import ConnectionTest, SmtpSettings
from emailconfig.services import settings_of
from organization.access import Scope, require
from organization.exceptions import UnansweredCopy
from organization.models import Stage
from organization.permissions import Permission
from organization.web.http import MemberRequest

# Step names for people. Scripts use the short names (check_smtp --json).
LABELS = {
    "name": "Name resolution",
    "TCP": "Connection (TCP)",
    "TLS": "Encryption (TLS)",
    "greeting": "Greeting",
    "EHLO": "Introduction (EHLO)",
    "STARTTLS": "Encryption (STARTTLS)",
    "token": "OAuth 2.0 token",
    "AUTH": "Sign-in (AUTH)",
    "MAIL FROM": "Sender (MAIL FROM)",
    "RCPT TO": "Recipient (RCPT TO)",
    "RSET": "Reset (RSET)",
}
# The field of the form to look at when a step fails.
_FIELDS = {
    "name": "server",
    "TCP": "port",
    "TLS": "security",
    "greeting": "port",
    "EHLO": "security",
    "STARTTLS": "security",
    "token": "token_url",
    "AUTH": "authentication",
    "MAIL FROM": "sender_address",
}
_BUSY = "Too many connection tests are running. Try again in a minute."


class Problem(NamedTuple):
    """What is wrong, and the field of the form, if it is about one."""

    text: str
    field: str = ""


@require_POST
@sensitive_post_parameters("password", "client_secret")
def start(request: MemberRequest, stage_key: str) -> HttpResponse:
    """Test the posted form, or the stored settings if `saved` is posted.

    The response is the panel that shows the test.
    """
    stage = _stage(request, stage_key)
    stored = settings_of(stage)
    form = None if "saved" in request.POST else SmtpSettingsForm(request.POST, instance=stored or SmtpSettings(stage=stage))
    settings = form.instance if form else stored
    recipient = RecipientForm(request.POST)
    problems = [*(_problems(form) if form else []), *_problems(recipient)]
    if settings is None or problems:
        return _refused(request, stage, problems)
    try:
        test = runs.start(settings, recipient.cleaned_data["recipient"], request.user)
    except TooManyTests:
        return _refused(request, stage, [Problem(_BUSY)])
    except UnansweredCopy as error:
        return _refused(request, stage, [Problem(str(error))])
    return _shown(request, test) if request.htmx else redirect("connection-test", stage.key, test.pk)


@require_safe
def show(request: MemberRequest, stage_key: str, test_id: int) -> HttpResponse:
    """Show the progress of a test: as a page, or only the panel for HTMX."""
    stage = _stage(request, stage_key)
    return _shown(request, get_object_or_404(ConnectionTest, pk=test_id, stage=stage))


def _stage(request: MemberRequest, key: str) -> Stage:
    stage = get_object_or_404(Stage, key=key)
    require(request.user, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    return stage


def _problems(form: Form | ModelForm[SmtpSettings]) -> list[Problem]:
    """The errors of the form, each with its field's label."""
    return [
        Problem(str(reason)) if name == NON_FIELD_ERRORS else Problem(f"{form[name].label}: {reason}", name)
        for name, reasons in form.errors.items()
        for reason in reasons
    ]


def _refused(request: MemberRequest, stage: Stage, problems: list[Problem]) -> HttpResponse:
    return _render(request, {"stage": stage, "problems": problems}, status=422)


def _shown(request: MemberRequest, test: ConnectionTest) -> HttpResponse:
    interrupted = runs.is_interrupted(test)
    findings = [Finding(**finding) for finding in test.findings]
    failure = next((finding for finding in findings if finding.ok is False), None)
    context = {
        "stage": test.stage,
        "test": test,
        "findings": [(finding, LABELS.get(finding.step, finding.step)) for finding in findings],
        "running": test.finished is None and not interrupted,
        "interrupted": interrupted,
        "healthy": test.finished is not None and is_healthy(findings),
        "failure": failure,
        "failed_field": _field_of(failure),
    }
    return _render(request, context)


def _field_of(failure: Finding | None) -> dict[str, str]:
    name = _FIELDS.get(failure.step, "") if failure else ""
    return {"name": name, "label": str(SmtpSettingsForm.base_fields[name].label)} if name else {}


def _render(request: MemberRequest, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """In the form itself a link to a field stays on the page. Elsewhere it opens the form."""
    edit_url = reverse("email-configuration-edit", args=[context["stage"].key])
    is_in_form = request.htmx and urlsplit(request.htmx.current_url or "").path == edit_url
    context["form_url"] = "" if is_in_form else edit_url
    template = "emailconfig/_test_panel.html" if request.htmx else "emailconfig/connection_test.html"
    return render(request, template, context, status=status)
