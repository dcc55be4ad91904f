"""View the portal as another member: what they may see and the viewer may see, for a short time and in one browser.

The middleware in portal says which pages are shown. Nothing can be changed.
"""

from __future__ import annotations

from datetime import timedelta

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from organization import audit
from organization.access import EVERYWHERE, allowed
from organization.govern.rights import holds_rights_of
from organization.models import Member
from organization.permissions import Permission

LASTS = timedelta(minutes=15)
_KEY = "view_as"


def may_view_as(viewer: Member, member: Member) -> bool:
    """Whether `viewer` manages members and holds every right of this other, active member."""
    if viewer.viewer is not None or viewer.pk == member.pk or not member.is_active:
        return False
    return allowed(viewer, EVERYWHERE, Permission.MANAGE_MEMBERS) and holds_rights_of(viewer, member)


def start_view(request: HttpRequest, member: Member) -> None:
    """Raises PermissionDenied. The audit trail names both members."""
    assert isinstance(request.user, Member)
    if not may_view_as(request.user, member):
        raise PermissionDenied("You can view the portal only as an active member who may do nothing that you may not.")
    until = timezone.now() + LASTS
    with transaction.atomic():
        audit.record(request.user, audit.Operation.VIEW_AS, member, after={"until": until.isoformat(timespec="seconds")})
    request.session[_KEY] = {"member": member.pk, "until": until.timestamp()}


def end_view(request: HttpRequest) -> Member | None:
    """Return the member who was viewed, if any."""
    view = request.session.pop(_KEY, None)
    return Member.objects.filter(pk=view["member"]).first() if view else None


def is_viewing(request: HttpRequest) -> bool:
    return _KEY in request.session


def viewed_member(request: HttpRequest) -> Member | None:
    """The member as whom this request sees the portal. Ends the view and returns None if it has expired, or the right is gone."""
    viewer, view = request.user, request.session[_KEY]
    assert isinstance(viewer, Member)
    member = Member.objects.filter(pk=view["member"]).first()
    is_expired = timezone.now().timestamp() >= view["until"]
    if member is None or is_expired or not may_view_as(viewer, member):
        end_view(request)
        return None
    member.viewer = viewer
    member.is_staff = False  # Django admin isn't shown
    return member
