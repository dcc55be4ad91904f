"""manage.py messages: do something about all emails that the log's query matches."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.http import QueryDict

from emaillog.bulk.service import CODES_MINUTES, PREVIEWED_AT_MOST, Plan, Request, plan, start
from organization.cli import PortalCommand
from organization.models import Stage
from outbox.bulk.checks import Act


class Command(PortalCommand):
    help = "Retry, cancel, resend, release or discard the emails that the email log's query matches. The worker carries it out."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=Act.values)
        parser.add_argument(
            "--filter", required=True, help="the log's query, such as 'stage=qa&status=failed&range=yesterday'; days are in UTC"
        )
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
        parser.add_argument("--everybody", action="store_true", help="with resend: also to recipients who got the email")
        parser.add_argument(
            "--codes-minutes",
            type=int,
            default=CODES_MINUTES,
            help=f"with resend: leave out one-time codes older than this, default {CODES_MINUTES}; 0 resends them too",
        )
        parser.add_argument("--reason", default="", help="with cancel and discard: the reason that the emails show")
        self.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        request = Request(
            Act(options["act"]),
            options["filter"],
            everybody=options["everybody"],
            codes_minutes=options["codes_minutes"] or None,
            reason=" ".join(options["reason"].split()),
        )
        planned = plan(request, self.operator)
        action = None if options["dry_run"] else start(request, self.operator, typed_stage_name=_named_stage(request.query))
        if options["json"]:
            self.write_json({**_in_numbers(planned), "action": action.pk if action else None})
            return
        self._say(planned)
        if action:
            self.stdout.write(f"Started as action {action.pk}. The worker carries it out: see Email log, Actions.")

    def _say(self, planned: Plan) -> None:
        more = f" (the newest {PREVIEWED_AT_MOST:,} were looked at; there are more)" if planned.more else ""
        self.stdout.write(f"{planned.preview.matching:,} emails match{more}, {planned.preview.changed:,} would be changed.")
        for target, count in planned.preview.targets.items():
            self.stdout.write(f"  {target.stage}: {target.rule}: {count.emails:,} emails, {count.recipients:,} recipients")
        for reason, emails in planned.preview.left_out.most_common():
            self.stdout.write(f"  Left out: {emails:,}: {reason}")


def _in_numbers(planned: Plan) -> dict[str, object]:
    targets = [
        {"stage": target.stage.key, "rule": target.rule, "emails": count.emails, "recipients": count.recipients}
        for target, count in planned.preview.targets.items()
    ]
    preview = planned.preview
    return {
        "matching": preview.matching,
        "more": planned.more,
        "changed": preview.changed,
        "targets": targets,
        "left_out": dict(preview.left_out),
    }


def _named_stage(query: str) -> str:
    """Who names the stage in the filter has typed it."""
    stage = Stage.objects.filter(key=QueryDict(query).get("stage", "")).first()
    return stage.name if stage else ""
