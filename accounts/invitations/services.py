"""Invite members, and send them another link."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.links import Purpose
from accounts.sent_links import SentLink, send_link
from organization.access import EVERYWHERE, Actor, require
from organization.members import create_member, require_may_edit
from organization.models import Member
from organization.permissions import Permission


def invite(member: Member, actor: Actor) -> SentLink:
    """Store a new member and send them an invitation. Raises PermissionDenied or ValidationError."""
    invitations: list[SentLink] = []
    create_member(member, actor, invite=lambda stored: invitations.append(send_link(stored, Purpose.INVITATION, actor)))
    return invitations[0]


def send_new_link(member: Member, actor: Actor) -> SentLink:
    """Send an invitation to a member without a password, and a link for a new password to others.

    The link takes the place of earlier ones. Raises PermissionDenied, and ValidationError for a deactivated member.
    """
    require(actor, EVERYWHERE, Permission.MANAGE_MEMBERS)
    with transaction.atomic():
        stored = Member.objects.select_for_update(no_key=True).get(pk=member.pk)
        require_may_edit(actor, stored)
        if not stored.is_active:
            raise ValidationError(f"{stored.name} is deactivated. Activate the member first.")
        return send_link(stored, purpose_for(stored), actor)


def purpose_for(member: Member) -> Purpose:
    return Purpose.PASSWORD_RESET if member.has_usable_password() else Purpose.INVITATION
