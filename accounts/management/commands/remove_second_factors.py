"""manage.py remove_second_factors: for a member who has lost them, when no other member may remove them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.second_factor.factors import remove_all
from organization.cli import PortalCommand
from organization.models import Member


class Command(PortalCommand):
    help = (
        "Remove a member's authenticator app, passkeys and recovery codes, and end their sessions. If a role requires a second "
        "factor, the member sets one up after the next sign-in. Make sure first that it is the member who asks."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="the member's email address")

    def handle(self, *args: Any, **options: Any) -> None:
        member = Member.objects.filter(email__iexact=options["email"]).first()
        if member is None:
            raise CommandError(f"There is no member with the email address {options['email']}.")
        remove_all(member, self.operator)
        self.stdout.write(f"{member.name} has no second factor now and is signed out everywhere.")
