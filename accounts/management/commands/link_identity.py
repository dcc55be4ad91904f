"""manage.py link_identity: let a member sign in as a person of the single sign-on provider."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from accounts.single_sign_on.linking import link
from organization.cli import PortalCommand
from organization.models import Member


class Command(PortalCommand):
    help = "Link a member to a person of the single sign-on provider (OIDC_ISSUER)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="the member's email address")
        parser.add_argument("subject", help="the person's subject, which the page for unknown people shows")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.OIDC_ISSUER:
            raise CommandError("Single sign-on isn't set up: OIDC_ISSUER is empty.")
        member = Member.objects.filter(email__iexact=options["email"]).first()
        if member is None:
            raise CommandError(f"There is no member with the address {options['email']}.")
        identity = link(settings.OIDC_ISSUER, options["subject"], member, self.operator)
        self.stdout.write(f"{member} signs in as {identity} now.")
