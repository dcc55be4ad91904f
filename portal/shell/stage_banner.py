"""The trouble of stages with their servers: a banner on every page of such a stage, and a list for pages about all stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from delivery.backoff import failing_stages, failure_of
from delivery.connection_slots import silent_connections
from organization.access import Scope, allowed
from organization.permissions import Permission
from outbox.access.visibility import may_see_all_mail

if TYPE_CHECKING:
    from django.http import HttpRequest

    from organization.models import Member


class StageBanner(TypedDict, total=False):
    """All but the first are missing on pages that belong to no stage. Looked up by pages that show it, not by parts of pages."""

    stages_in_trouble: SimpleLazyObject[Any]  # a list of StageBackoff
    stage_trouble: SimpleLazyObject[Any]  # a StageBackoff, or None when all is well
    stage_evidence: SimpleLazyObject[str]  # what the server said
    can_resume: SimpleLazyObject[bool]
    stage_silence: SimpleLazyObject[Any]  # the slot over which the server hangs for longest, if any
    silent_mail_url: SimpleLazyObject[str]  # of the mail it hangs over; empty for members who may not open it


def stage_banner(request: HttpRequest) -> StageBanner:
    """The context processor. A page belongs to the stage whose key is in its address."""
    key = request.resolver_match.kwargs.get("stage_key") if request.resolver_match else None
    member = getattr(request, "user", None)
    if member is None or not member.is_authenticated:
        return {}
    all_stages: StageBanner = {"stages_in_trouble": SimpleLazyObject(failing_stages)}
    if key is None:
        return all_stages
    trouble: SimpleLazyObject[Any] = SimpleLazyObject(lambda: failure_of(key))
    silence = SimpleLazyObject(lambda: silent_connections(key).first())
    may = Permission.MANAGE_EMAIL_CONFIGURATIONS
    return {
        **all_stages,
        "stage_trouble": trouble,
        "stage_evidence": SimpleLazyObject(lambda: _evidence(trouble, member)),
        "can_resume": SimpleLazyObject(lambda: allowed(member, Scope(stage=trouble.stage), may)),
        "stage_silence": silence,
        "silent_mail_url": SimpleLazyObject(lambda: _silent_mail_url(silence, member)),
    }


def _evidence(trouble: Any, member: Member) -> str:
    """The server may have named a recipient of any app."""
    return str(trouble.evidence if may_see_all_mail(member, trouble.stage) else trouble.masked_evidence)


def _silent_mail_url(silence: Any, member: Member) -> str:
    if not allowed(member, Scope(stage=silence.stage), Permission.ACCESS_ASSET_LOGS):
        return ""
    return reverse("email-log-message", args=[silence.stage.key, silence.silent_about])
