"""manage.py changepassword: give a member a new password.

It replaces Django's command, which leaves no entry in the audit trail.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from organization.cli import PortalCommand
from organization.members import give_password
from organization.models import Member
from portal.management.typed_password import typed_twice


class Command(PortalCommand):
    help = "Give a member a new password. You type it twice. It ends all sessions of the member."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="the member's email address")

    def handle(self, *args: Any, **options: Any) -> None:
        member = Member.objects.filter(email__iexact=options["email"]).first()
        if member is None:
            raise CommandError(f"There is no member with the address {options['email']}.")
        self.stdout.write(f"A new password for {member}.")
        give_password(member, typed_twice(), self.operator)
        self.stdout.write("The password was changed. It ends all sessions of the member.")
