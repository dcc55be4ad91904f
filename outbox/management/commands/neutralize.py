"""manage.py neutralize: make a copied database a test copy, as a step of the script that refreshes a test installation."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from organization.cli import PortalCommand
from outbox.copies.answers import make_test_copy


class Command(PortalCommand):
    help = (
        "Make this copied database a test copy: every stage captures, and secrets, tokens and credentials are removed. "
        "Refused unless the database is a copy."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--database", required=True, metavar="NAME", help="the name of this database; with SQLite the file's name or path"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        make_test_copy(self.operator, options["database"])
        self.stdout.write("Neutralized: every stage captures. Secrets, tokens and credentials are removed.")
