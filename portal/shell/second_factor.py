"""What a member's page says of their second factor. That page doesn't know the feature above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from django.urls import reverse

from accounts.second_factor.factors import factors_of, may_remove_all
from organization.models import Member

if TYPE_CHECKING:
    from django.http import HttpRequest


class SecondFactorOfMember(TypedDict, total=False):
    """Missing on all other pages."""

    second_factor: dict[str, object]
    remove_second_factors_url: str  # only where there is one, for those who may remove it


def second_factor_of_member(request: HttpRequest) -> SecondFactorOfMember:
    """The context processor."""
    match, viewer = request.resolver_match, getattr(request, "user", None)
    if match is None or match.url_name not in ("member", "member-give-role") or not isinstance(viewer, Member):
        return {}
    member = Member.objects.filter(pk=match.kwargs["member_id"]).first()
    if member is None:
        return {}
    factors: SecondFactorOfMember = {"second_factor": factors_of(member)}
    if factors["second_factor"] and may_remove_all(viewer, member):
        factors["remove_second_factors_url"] = reverse("member-second-factors-remove", args=[member.pk])
    return factors
