"""manage.py check_smtp: test a stage's SMTP settings, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from common.addresses import parse_named_address
from emailconfig.doctor.examination import Finding, examine, is_healthy, record
from emailconfig.services import settings_of
from organization.cli import PortalCommand, stage_by_key
from organization.installation.seal import refuse_copy


class Command(PortalCommand):
    help = "Test the SMTP settings of a stage, step by step. No email is sent. The exit code is 1 if a step fails."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_stage(parser)
        parser.add_argument(
            "--to", default="", metavar="ADDRESS", help="also ask whether the server accepts email for this address"
        )
        self.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        stage = stage_by_key(options["stage"])
        settings = settings_of(stage)
        if settings is None:
            raise CommandError(f"{stage.name} has no SMTP settings yet. Its emails are held. Make the settings with set_smtp.")
        refuse_copy()
        recipient = _address(options["to"])
        report: Callable[[Finding], None] = (lambda _: None) if options["json"] else self._print
        findings = examine(settings, recipient, report, for_operator=True)
        healthy = is_healthy(findings)
        record(self.operator, settings, findings)
        if options["json"]:
            self.write_json({"ok": healthy, "steps": [asdict(finding) for finding in findings]})
        if not healthy:
            raise CommandError(f"{settings} can't be used with these settings: {findings[-1].cause}")
        if not options["json"]:
            self.stdout.write(f"{settings} accepts email from {settings.sender_address}.")

    def _print(self, finding: Finding) -> None:
        if finding.ok is None:
            return
        self.stdout.write(f"{'ok    ' if finding.ok else 'FAILED'} {finding.step} ({finding.ms} ms)")
        for line in finding.evidence.splitlines():
            self.stdout.write(f"         {line}")
        if finding.cause:
            self.stdout.write(f"       {finding.cause}\n       {finding.next}")


def _address(text: str) -> str:
    try:
        return parse_named_address(text).email if text else ""
    except ValidationError as error:
        raise ValidationError({"--to": error.messages}) from error
