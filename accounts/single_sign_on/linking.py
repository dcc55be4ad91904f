"""Which member an identity belongs to, and how it is linked to one."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import transaction

from accounts.exceptions import DeactivatedMember, UnknownPerson
from accounts.single_sign_on.client import Person
from accounts.single_sign_on.models import Identity
from organization import audit
from organization.access import Actor
from organization.models import Member

_DEACTIVATED = "An administrator of your organization has deactivated it. Ask them if you need it again."
_UNKNOWN = (
    "Nobody here is known as this person. Do you have a password for this portal? Then sign in with it and choose "
    "Link under Sessions in your menu. Otherwise ask an administrator to add you. They may need this name of yours: {subject}"
)


def linked_member(person: Person) -> Member | None:
    """The member whom the person has been linked to. Raises DeactivatedMember."""
    identity = Identity.objects.select_related("member").filter(issuer=person.issuer, subject=person.subject).first()
    return _active(identity.member) if identity else None


def member_to_link(person: Person, signed_in: Member | AnonymousUser) -> Member:
    """The member whom the person may be linked to: the one who is signed in, or the one with the verified address.

    A member with a password has to enter it first (`needs_password`). Raises UnknownPerson or DeactivatedMember.
    """
    if isinstance(signed_in, Member) and needs_password(signed_in):
        return signed_in
    if settings.OIDC_LINK_BY_EMAIL and person.verified_email:
        member = Member.objects.filter(email__iexact=person.verified_email).first()
        if member is not None:
            return _active(member)
    raise UnknownPerson(_UNKNOWN.format(subject=person.subject))


def needs_password(member: Member) -> bool:
    """Whether the member has a password of their own, which the provider's word alone must not replace."""
    return member.has_usable_password()


def link(issuer: str, subject: str, member: Member, actor: Actor) -> Identity:
    """Store that the person is this member. Raises UnknownPerson if it is another member already, or ValidationError."""
    Identity(issuer=issuer, subject=subject, member=member).clean_fields()
    with transaction.atomic():
        identity, is_new = Identity.objects.get_or_create(issuer=issuer, subject=subject, defaults={"member": member})
        if identity.member_id != member.pk:
            raise UnknownPerson("This person is linked to another member already.")
        if is_new:
            audit.record(actor, audit.Operation.CREATE, identity, after=audit.snapshot(identity))
    return identity


def unlink(identity: Identity, actor: Actor) -> None:
    with transaction.atomic():
        audit.record(actor, audit.Operation.DELETE, identity, before=audit.snapshot(identity))
        identity.delete()


def _active(member: Member) -> Member:
    if not member.is_active:
        raise DeactivatedMember(_DEACTIVATED)
    return member
