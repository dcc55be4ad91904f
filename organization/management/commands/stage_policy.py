"""manage.py stage_policy: show or change what test mail of a stage keeps."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from organization.cli import one_clear_line, operator, stage_by_key
from organization.kept_headers import keep_header, stop_keeping_header
from organization.models import Stage


class Command(BaseCommand):
    help = "Show or change which header fields the test mail of a stage keeps, besides those that all test mail keeps."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("stage", help="the stage's key, such as qa")
        names: dict[str, Any] = {"nargs": "+", "action": "extend", "default": [], "metavar": "NAME"}
        parser.add_argument("--keep-header", help="header fields to keep in test mail", **names)
        parser.add_argument("--no-keep-header", help="header fields to keep no longer", **names)
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        stage = stage_by_key(options["stage"])
        with one_clear_line(), transaction.atomic():
            for name in options["keep_header"]:  # the operator has typed the stage's key
                keep_header(stage, name, operator("stage_policy"), typed_stage_name=stage.name)
            for name in options["no_keep_header"]:
                _stop_keeping(stage, name)
        names = [kept.name for kept in stage.kept_headers.all()]
        if options["json"]:
            self.stdout.write(json.dumps({"stage": stage.key, "kept_headers": names}))
        else:
            self.stdout.write(f"Header fields that test mail of {stage.name} keeps: {', '.join(names) or 'no others'}")


def _stop_keeping(stage: Stage, name: str) -> None:
    kept = stage.kept_headers.filter(name__iexact=name).first()
    if kept is None:
        raise CommandError(f"Test mail of {stage.name} doesn't keep {name}.")
    stop_keeping_header(kept, operator("stage_policy"))
