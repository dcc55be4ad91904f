"""Who may do something about many emails. Each email is asked about again, by its app and stage."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied

from organization.models import Member
from organization.permissions import Permission


def may_act(member: Member) -> bool:
    """Whether there may be any email about which the member may do something."""
    return member.has_perm_anywhere(Permission.RESEND_MAIL.path)


def require_may_act(member: Member) -> None:
    if not may_act(member):
        raise PermissionDenied(f"You need the permission “{Permission.RESEND_MAIL.label}” for this.")
