"""Addresses that the templates of a feature lead to without knowing the feature behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from django.urls import reverse

from organization.permissions import Permission

if TYPE_CHECKING:
    from django.http import HttpRequest


class PageLinks(TypedDict, total=False):
    """Those of a stage are missing on pages that belong to no stage, and those of a member on other pages than theirs."""

    invite_url: str
    member_link_url: str
    email_log_url: str
    test_mail_url: str
    policy_effect_url: str  # only for members who may read a log
    pause_url: str
    member_sessions_url: str


def page_links(request: HttpRequest) -> PageLinks:
    """The context processor. A page belongs to the stage or member in its address."""
    match = request.resolver_match
    if match is None:
        return {}
    if "member_id" in match.kwargs:
        member = match.kwargs["member_id"]
        return {
            "member_link_url": reverse("member-link", args=[member]),
            "member_sessions_url": reverse("member-sessions", args=[member]),
        }
    if match.url_name == "members":
        return {"invite_url": reverse("member-new")}
    key = match.kwargs.get("stage_key")
    if key is None:
        return {}
    links: PageLinks = {
        "email_log_url": reverse("email-log", args=[key]),
        "test_mail_url": reverse("send-test-mail", args=[key]),
        "pause_url": reverse("pause", args=[key]),
    }
    member = getattr(request, "user", None)
    if member is not None and member.is_authenticated and member.has_perm_anywhere(Permission.ACCESS_ASSET_LOGS.path):
        links["policy_effect_url"] = reverse("policy-effect", args=[key])
    return links
