"""manage.py prune_messages: remove old messages, as the worker does once a day."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from organization.cli import PortalCommand
from portal.housekeeping import prune


class Command(PortalCommand):
    help = "Remove the content of finished emails after CONTENT_RETENTION_DAYS, and the emails after LOG_RETENTION_DAYS."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        pruned = prune()
        if options["json"]:
            self.write_json(asdict(pruned))
            return
        self.stdout.write(f"Removed: the content of {pruned.contents:,} emails, and {pruned.messages:,} emails.")
