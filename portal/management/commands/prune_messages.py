"""manage.py prune_messages: removes what is old enough, as the worker does once a day."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from portal.housekeeping import prune


class Command(BaseCommand):
    help = "Remove the content of final mail after CONTENT_RETENTION_DAYS, and the mail itself after LOG_RETENTION_DAYS."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        pruned = prune()
        if options["json"]:
            self.stdout.write(json.dumps(asdict(pruned)))
            return
        self.stdout.write(f"Removed: the content of {pruned.contents:,} emails, and {pruned.messages:,} emails.")
