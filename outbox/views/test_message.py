"""Send a test email through a stage, the way all its messages go."""

from __future__ import annotations

from django.contrib import messages
from django.core.mail import EmailMessage
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from common.addresses import NamedAddress
from emailconfig.models import SmtpSettings
from emailconfig.services import settings_of
from organization import audit
from organization.access import Scope, allowed, require
from organization.models import App, Member, Stage
from organization.permissions import Permission
from organization.web.http import MemberRequest
from outbox.exceptions import SubmissionRefused
from outbox.forms import TestMailForm
from outbox.models import Message, RouteKind, Source, Status
from outbox.submission import Envelope, new_message_id, submit


@require_http_methods(["GET", "POST"])
def send_test_mail(request: MemberRequest, stage_key: str) -> HttpResponse:
    """Ask for app and address, submit the message, and show it in the email log."""
    stage = get_object_or_404(Stage, key=stage_key)
    require(request.user, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    settings = settings_of(stage)
    if settings is None:
        messages.error(request, f"{stage.name} has no email configuration yet.")
        return redirect("email-configuration", stage.key)
    form = TestMailForm(request.POST or None, initial={"address": request.user.email})
    if request.method == "POST" and form.is_valid():
        app, address = form.cleaned_data["app"], form.cleaned_data["address"]
        try:
            mail = _submit(settings, app, address, request.user)
        except SubmissionRefused as refused:
            form.add_error("address", refused.text)
        else:
            messages.success(request, f"The test email was accepted. {_where_it_went(mail)}")
            if allowed(request.user, Scope(app, stage), Permission.ACCESS_ASSET_LOGS):
                return redirect("email-log-message", stage.key, mail.pk)
            return redirect("email-configuration", stage.key)
    context = {"stage": stage, "settings": settings, "form": form}
    return render(request, "outbox/send_test_mail.html", context, status=422 if form.errors else 200)


def _where_it_went(message: Message) -> str:
    """Who sent it may not be allowed to read the log: they named the address, and a list's people are only counted."""
    if message.hold_reason:
        return f"It is held: {message.get_hold_reason_display()}"
    people = message.recipients.exclude(status=Status.CAPTURED)
    if message.route == RouteKind.TEST_LIST:
        count = people.count()
        whom = "the person" if count == 1 else f"the {count:,} people"
        return f"It goes to {whom} on the test list of {message.app} in {message.stage}."
    if message.route == RouteKind.CAPTURED:
        return "It was captured, because the stage's recipient policy lets nobody get it."
    return f"It goes to {', '.join(people.values_list('address', flat=True))}."


def _submit(settings: SmtpSettings, app: App, address: str, member: Member) -> Message:
    stage, sender = settings.stage, NamedAddress(settings.sender_address, settings.sender_name)
    text = f"This email was sent by {member} to try out the email configuration of {stage.name}.\n\nServer: {settings}\n"
    mail = EmailMessage(
        f"Test mail of {stage.name}", text, str(sender), [address], headers={"Message-ID": new_message_id(sender.email)}
    )
    with transaction.atomic():
        message = submit(app, stage, Envelope(sender.email, [address]), mail.message().as_bytes(), via=Source.PORTAL)
        audit.record(member, audit.Operation.SEND_TEST_MESSAGE, message)
    return message
