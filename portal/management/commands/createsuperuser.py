"""manage.py createsuperuser: create a member who may do everything.

It replaces Django's command, which leaves no entry in the audit trail.
"""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.invitations.services import invite
from organization.cli import one_clear_line, operator
from organization.members import create_member
from organization.models import Member
from portal.management.typed_password import typed_twice


class Command(BaseCommand):
    help = "Create a member who may do everything. You are asked for the email address, name and password."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--email", help="the member's email address")
        parser.add_argument("--name", help="the member's name")
        parser.add_argument(
            "--noinput",
            "--no-input",
            action="store_false",
            dest="interactive",
            help="Ask nothing. DJANGO_SUPERUSER_PASSWORD is the password; without it the member is invited to choose one.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        asked = options["interactive"]
        email, name = (_value(field, options[field], asked=asked) for field in ("email", "name"))
        member = Member(email=email, name=name, is_staff=True, is_superuser=True)
        with one_clear_line():
            password = _new_password(member) if asked else os.environ.get("DJANGO_SUPERUSER_PASSWORD", "")
            if password:
                create_member(member, operator("createsuperuser"), password=password)
                self.stdout.write(f"{member} may do everything now.")
            else:
                self._invite(member)

    def _invite(self, member: Member) -> None:
        sent = invite(member, operator("createsuperuser"))
        self.stdout.write(f"{member} may do everything after they have chosen a password. The link works once, for one day.")
        self.stdout.write(f"{sent.why_shown}\n{sent.url}" if sent.url else f"An email with it is on its way to {member.email}.")


def _value(field: str, given: str | None, *, asked: bool) -> str:
    """Return the value of the option or environment variable, or else ask for it."""
    if value := given or os.environ.get(f"DJANGO_SUPERUSER_{field.upper()}"):
        return value
    if not asked:
        raise CommandError(f"You must use --{field} with --noinput.")
    try:
        return input(f"{field.capitalize()}: ").strip()
    except (EOFError, KeyboardInterrupt) as error:
        raise CommandError(f"No {field} was entered: nothing was changed.") from error


def _new_password(member: Member) -> str:
    """Validate the member first, and then ask for a password."""
    member.full_clean(exclude=["password"])
    return typed_twice()
