"""manage.py resume: end the pause of a stage, or of one app in it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from organization.access import Scope
from organization.cli import PortalCommand, app_by_key, stage_by_key
from outbox.holding.held_mail import Choice, in_words
from outbox.holding.pauses import resume
from outbox.management.held_answer import say_answered


class Command(PortalCommand):
    help = "End a pause. After one of 15 minutes or more its emails stay held unless --held says otherwise."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_stage(parser)
        parser.add_argument("--app", help="resume only the emails of the app with this key")
        parser.add_argument(
            "--held", choices=Choice.values, help="what to do with held emails; without it they stay held, and the portal asks"
        )
        parser.add_argument("--reason", default="", help="with --held discard: the reason that the emails show")

    def handle(self, *args: Any, **options: Any) -> None:
        stage = stage_by_key(options["stage"])
        place = Scope(app_by_key(options["app"]) if options["app"] else None, stage)
        held = Choice(options["held"]) if options["held"] else None
        question = resume(place, self.operator, held=held, reason=options["reason"], typed_stage_name=stage.name)
        self.stdout.write(f"{f'{place.app} in {stage}' if place.app else stage} isn't paused any more.")
        if question and held:
            say_answered(self, question, held)
        elif question:
            self.stdout.write(in_words(question))
