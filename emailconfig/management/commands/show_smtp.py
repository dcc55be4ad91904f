"""manage.py show_smtp: show a stage's SMTP settings, without secrets."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from common.clock import database_now
from emailconfig.services import settings_of
from organization import audit
from organization.cli import PortalCommand, stage_by_key
from organization.recipient_policy.changes import policy_in_force


class Command(PortalCommand):
    help = "Show the SMTP settings of a stage. Secrets are shown as dots."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_stage(parser)
        self.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        stage = stage_by_key(options["stage"])
        settings = settings_of(stage)
        if settings is None:
            raise CommandError(f"{stage.name} has no SMTP settings yet. Its emails are held. Make the settings with set_smtp.")
        values = {name: value for name, value in audit.snapshot(settings).items() if name not in ("id", "stage")}
        policy = policy_in_force(stage, database_now())
        if options["json"]:
            self.write_json({"stage": stage.key, "policy": policy.value, **values})
            return
        self.stdout.write(f"{'recipient policy:':28}{policy.label}")
        for name, value in values.items():
            self.stdout.write(f"{name + ':':28}{value}")
