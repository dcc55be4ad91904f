"""manage.py stage_policy: what test mail of a stage keeps, shown or changed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from organization.access import Operator
from organization.cli import PortalCommand, stage_by_key
from organization.kept_headers import keep_header, stop_keeping_header
from organization.models import Stage


class Command(PortalCommand):
    help = "Show which header fields the test mail of a stage keeps beside those of all test mail, or change it."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_stage(parser)
        names: dict[str, Any] = {"nargs": "+", "action": "extend", "default": [], "metavar": "NAME"}
        parser.add_argument("--keep-header", help="header fields that test mail keeps from now on", **names)
        parser.add_argument("--no-keep-header", help="those that it doesn't keep any more", **names)
        self.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        stage = stage_by_key(options["stage"])
        with transaction.atomic():
            for name in options["keep_header"]:  # the operator has typed the stage's key
                keep_header(stage, name, self.operator, typed_stage_name=stage.name)
            for name in options["no_keep_header"]:
                _stop_keeping(stage, name, self.operator)
        names = [kept.name for kept in stage.kept_headers.all()]
        if options["json"]:
            self.write_json({"stage": stage.key, "kept_headers": names})
        else:
            self.stdout.write(f"Header fields that test mail of {stage.name} keeps: {', '.join(names) or 'no others'}")


def _stop_keeping(stage: Stage, name: str, actor: Operator) -> None:
    kept = stage.kept_headers.filter(name__iexact=name).first()
    if kept is None:
        raise CommandError(f"Test mail of {stage.name} doesn't keep {name} as it is.")
    stop_keeping_header(kept, actor)
