"""An app's emails section in a stage, in view mode: the test list's card among those of the other features."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from organization.access import Scope, allowed
from organization.credentials import MAY_MANAGE
from organization.forms import CredentialForm
from organization.models import App, Credential, Member
from organization.permissions import Permission
from organization.web.http import MemberRequest, StageLink, gateway_context
from outbox.refusals import newest_refusals
from testlists.models import TestList
from testlists.views import find_test_list, frame_context, view_context


@require_safe
def app_emails(request: MemberRequest, app_key: str, stage_key: str) -> HttpResponse:
    """Show the page. Every member may read it, and each card leaves out what the member may not see.

    The built-in app has nothing to configure. Its page is its log.
    """
    if app_key == App.BUILT_IN_KEY:
        return redirect(f"{reverse('email-log', args=[stage_key])}?app={app_key}")
    test_list = find_test_list(app_key, stage_key)
    credentials = list(Credential.objects.filter(app=test_list.app, stage=test_list.stage))
    frame = frame_context(request, test_list, "app-emails")
    context = {
        **frame,
        **view_context(request, test_list),
        "log_url": _log_url(request.user, test_list),
        "credentials": credentials,
        "active_credentials": sum(not credential.revoked and not credential.is_expired for credential in credentials),
        "credential_form": CredentialForm(),
        "credential_start": _credential_start(request.user, test_list, frame["stage_links"]),
        **gateway_context(),
        "refusals": newest_refusals(request.user, test_list.app, test_list.stage),
    }
    return render(request, "portal/app_emails.html", context)


def _credential_start(member: Member, test_list: TestList, links: list[StageLink]) -> StageLink | None:
    """In Production, the first other stage where the member may create a credential, so that nobody starts there by accident."""
    if not test_list.stage.is_production:
        return None
    others = (link for link in links if not link.stage.is_production and not link.stage.archived)
    return next((link for link in others if allowed(member, Scope(test_list.app, link.stage), *MAY_MANAGE)), None)


def _log_url(member: Member, test_list: TestList) -> str:
    """Return the URL of the app's email log. Empty for members who may not read it."""
    app, stage = test_list.app, test_list.stage
    if not allowed(member, Scope(app, stage), Permission.ACCESS_ASSET_LOGS):
        return ""
    return f"{reverse('email-log', args=[stage.key])}?app={app.key}"
