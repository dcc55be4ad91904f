"""manage.py stage_policy: show or change what test mail of a stage keeps."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from organization.access import Operator
from organization.cli import PortalCommand, stage_by_key
from organization.kept_headers import keep_header, stop_keeping_header
from organization.models import Stage


class Command(PortalCommand):
    help = "Show or change which header fields the test mail of a stage keeps, besides those that all test mail keeps."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_stage(parser)
        names: dict[str, Any] = {"nargs": "+", "action": "extend", "default": [], "metavar": "NAME"}
        parser.add_argument("--keep-header", help="header fields to keep in test mail", **names)
        parser.add_argument("--no-keep-header", help="header fields to keep no longer", **names)
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
        raise CommandError(f"Test mail of {stage.name} doesn't keep {name}.")
    stop_keeping_header(kept, actor)
