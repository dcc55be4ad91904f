"""manage.py changepassword: a member's new password, in place of Django's command, which leaves no entry in the audit trail."""

from __future__ import annotations

import getpass
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.management.base import CommandError, CommandParser

from organization.cli import PortalCommand
from organization.members import give_password
from organization.models import Member


class Command(PortalCommand):
    help = "Give a member a new password, which is asked for twice. It ends all their sessions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="the member's email address")

    def handle(self, *args: Any, **options: Any) -> None:
        member = Member.objects.filter(email__iexact=options["email"]).first()
        if member is None:
            raise CommandError(f"There is no member with the address {options['email']}.")
        self.stdout.write(f"A new password for {member}.")
        password = _typed_twice()
        validate_password(password, member)
        give_password(member, password, self.operator)
        self.stdout.write("The password was changed. It ends all sessions of the member.")


def _typed_twice() -> str:
    try:
        password, again = getpass.getpass("Password: "), getpass.getpass("Password (again): ")
    except (EOFError, KeyboardInterrupt) as error:
        raise CommandError("No password was entered: nothing was changed.") from error
    if password != again:
        raise CommandError("The passwords differ: nothing was changed.")
    return password
