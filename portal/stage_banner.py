"""The banner that stands on every page of a stage whose server gives trouble."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from organization.permissions import Permission, Scope, allowed
from outbox.models import StageQueue
from outbox.stage_queue import trouble_of

if TYPE_CHECKING:
    from django.http import HttpRequest


class StageBanner(TypedDict, total=False):
    """`stage_trouble` is missing or None when all is well, and on pages that belong to no stage."""

    stage_trouble: StageQueue | None
    can_resume: bool


def stage_banner(request: HttpRequest) -> StageBanner:
    """The context processor. A page belongs to the stage whose key is in its address."""
    key = request.resolver_match.kwargs.get("stage") if request.resolver_match else None
    member = getattr(request, "user", None)
    if key is None or member is None or not member.is_authenticated:
        return {}
    trouble = trouble_of(key)
    if trouble is None:
        return {}
    scope = Scope(stage=trouble.stage)
    return {"stage_trouble": trouble, "can_resume": allowed(member, scope, Permission.MANAGE_EMAIL_CONFIGURATIONS)}
