"""The banner that stands on every page of a stage whose server gives trouble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from django.utils.functional import SimpleLazyObject

from delivery.backoff import trouble_of
from delivery.connection_slots import silent_connections
from organization.access import Scope, allowed
from organization.permissions import Permission
from outbox.visibility import may_see_all_mail

if TYPE_CHECKING:
    from django.http import HttpRequest

    from organization.models import Member


class StageBanner(TypedDict, total=False):
    """Missing on pages that belong to no stage. Looked up by pages that show it, not by parts of pages."""

    stage_trouble: SimpleLazyObject[Any]  # a StageQueue, or None when all is well
    stage_evidence: SimpleLazyObject[str]  # what the server said
    can_resume: SimpleLazyObject[bool]
    stage_silence: SimpleLazyObject[Any]  # the Connection over which the server hangs for longest, if any
    can_open_mail: SimpleLazyObject[bool]


def stage_banner(request: HttpRequest) -> StageBanner:
    """The context processor. A page belongs to the stage whose key is in its address."""
    key = request.resolver_match.kwargs.get("stage") if request.resolver_match else None
    member = getattr(request, "user", None)
    if key is None or member is None or not member.is_authenticated:
        return {}
    trouble: SimpleLazyObject[Any] = SimpleLazyObject(lambda: trouble_of(key))
    silence = SimpleLazyObject(lambda: silent_connections(key).first())
    may = Permission.MANAGE_EMAIL_CONFIGURATIONS
    return {
        "stage_trouble": trouble,
        "stage_evidence": SimpleLazyObject(lambda: _evidence(trouble, member)),
        "can_resume": SimpleLazyObject(lambda: allowed(member, Scope(stage=trouble.stage), may)),
        "stage_silence": silence,
        "can_open_mail": SimpleLazyObject(lambda: allowed(member, Scope(stage=silence.stage), Permission.ACCESS_ASSET_LOGS)),
    }


def _evidence(trouble: Any, member: Member) -> str:
    """The server may have named a recipient of any app."""
    return str(trouble.evidence if may_see_all_mail(member, trouble.stage) else trouble.masked_evidence)
