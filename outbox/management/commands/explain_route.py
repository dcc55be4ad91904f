"""manage.py explain_route: where would this mail go?"""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from common.addresses import parse_named_address
from organization.cli import app_by_key, one_clear_line, stage_by_key
from organization.recipient_policy.reading import policy_of
from outbox.routing import route
from testlists.services import test_list_of
from testlists.state import state_of


class Command(BaseCommand):
    help = "Say who would get a mail of an app in a stage, and why. Nothing is sent or stored."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("app", help="the app's key, such as crm")
        parser.add_argument("stage", help="the stage's key, such as qa")
        for name in ("to", "cc", "bcc"):
            parser.add_argument(f"--{name}", nargs="+", action="extend", default=[], required=name == "to", metavar="ADDRESS")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        app, stage = app_by_key(options["app"]), stage_by_key(options["stage"])
        with one_clear_line():
            requested = [parse_named_address(text).email for name in ("to", "cc", "bcc") for text in options[name]]
        found = route(requested, state_of(test_list_of(app, stage)), policy_of(stage))
        if options["json"]:
            decisions = [
                {"requested": one.requested, "delivered_to": one.delivered_to, "rule": one.rule, "reason": one.reason}
                for one in found.decisions
            ]
            self.stdout.write(json.dumps({"route": found.kind, "decisions": decisions}, ensure_ascii=False))
            return
        for one in found.decisions:
            self.stdout.write(f"{one.requested} -> {', '.join(one.delivered_to) or 'held'}")
            self.stdout.write(f"  {one.reason}")
