"""manage.py pause: accept and hold the emails of a stage, or of one app in it, until a person resumes them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from organization.access import Scope
from organization.cli import PortalCommand, app_by_key, stage_by_key
from outbox.holding.pauses import pause, wait_until_none_in_flight


class Command(PortalCommand):
    help = "Pause a stage's emails, or those of one app in it. They are accepted and held until manage.py resume."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_stage(parser)
        parser.add_argument("--app", help="pause only the emails of the app with this key")
        parser.add_argument("--reason", required=True, help="why, for those who wonder where their emails are")

    def handle(self, *args: Any, **options: Any) -> None:
        place = Scope(app_by_key(options["app"]) if options["app"] else None, stage_by_key(options["stage"]))
        paused = pause(place, options["reason"], self.operator)
        self.stdout.write(f"{paused.place} is paused. Its emails are accepted and held until manage.py resume.")
        if leaving := wait_until_none_in_flight(place):
            self.stderr.write(f"Still being sent: {leaving} email(s) that were handed to the server before.")
