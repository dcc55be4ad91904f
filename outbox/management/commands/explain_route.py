"""manage.py explain_route: where would this email go?"""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from common.addresses import parse_named_address
from common.clock import database_now
from organization.cli import PortalCommand, app_by_key, stage_by_key
from organization.recipient_policy.reading import policy_of
from outbox.routing import route
from testlists.services import test_list_of
from testlists.state import state_of


class Command(PortalCommand):
    help = "Say who would get an email of an app in a stage, and why. Nothing is sent or stored."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_app(parser)
        self.add_stage(parser)
        for name in ("to", "cc", "bcc"):
            parser.add_argument(f"--{name}", nargs="+", action="extend", default=[], required=name == "to", metavar="ADDRESS")
        self.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        app, stage = app_by_key(options["app"]), stage_by_key(options["stage"])
        if app.is_built_in:
            raise CommandError(f"The app {app.key} is the portal's own: each of its emails goes to the member it is for.")
        requested = [parse_named_address(text).email for name in ("to", "cc", "bcc") for text in options[name]]
        policy = policy_of(stage)
        decided = route(requested, state_of(test_list_of(app, stage), database_now()), policy)
        if options["json"]:
            decisions = [
                {
                    "requested": decision.requested,
                    "delivered_to": decision.delivered_to,
                    "rule": decision.rule,
                    "reason": decision.reason,
                }
                for decision in decided.decisions
            ]
            self.write_json({"policy": policy.policy, "route": decided.kind, "decisions": decisions})
            return
        self.stdout.write(f"{stage.name}: {policy.policy.label}")
        nobody = "held" if decided.hold_reason else "captured"
        for decision in decided.decisions:
            self.stdout.write(f"{decision.requested} -> {', '.join(decision.delivered_to) or nobody}")
            self.stdout.write(f"  {decision.reason}")
