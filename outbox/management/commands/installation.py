"""manage.py installation: which installation and database this is, and the answer if the database is a copy."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from organization.cli import PortalCommand
from organization.installation.identity import LABELS, from_text, identity
from organization.installation.seal import asking_copy
from organization.models import Installation
from outbox.copies.answers import make_test_copy, names_of_database, replace_original
from outbox.copies.copied_mail import unsent_by_stage
from outbox.copies.noticing import note_what_came


class Command(PortalCommand):
    help = "Show which installation and database this is, and whether the database is a copy. With an option, answer."

    def add_arguments(self, parser: CommandParser) -> None:
        answers = parser.add_mutually_exclusive_group()
        answers.add_argument(
            "--replaces-original",
            action="store_true",
            help="this installation replaces the original: its unsent emails stay held until a person has looked",
        )
        answers.add_argument(
            "--is-a-copy",
            action="store_true",
            help="this is a test copy: every stage captures, and secrets, tokens and credentials are removed",
        )
        self.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["replaces_original"]:
            held = replace_original(self.operator)
            self.stdout.write(f"This installation replaces the original. Held until a person has looked: {held:,} email(s).")
        elif options["is_a_copy"]:
            make_test_copy(self.operator, names_of_database()[0])
            self.stdout.write("This is a test copy. Every stage captures. Secrets, tokens and credentials are removed.")
        elif options["json"]:
            self.write_json(_facts())
        else:
            self._show(_facts())

    def _show(self, facts: dict[str, Any]) -> None:
        for name, part in facts["identity"].items():
            sealed = facts["seal"].get(name, "") if facts["seal"] else part
            changed = "" if sealed == part else f"  (the seal says: {sealed or 'none'})"
            self.stdout.write(f"{LABELS[name]}: {part or 'none'}{changed}")
        if not facts["seal"]:
            self.stdout.write("Not sealed yet. The first worker or gateway seals it.")
        elif not facts["copy"]:
            self.stdout.write(f"Sealed: {facts['sealed']}. The database belongs to this installation.")
        else:
            self._ask(facts)

    def _ask(self, facts: dict[str, Any]) -> None:
        self.stdout.write("This database is a copy. Nothing is sent until you answer.")
        self.stdout.write(f"Latest activity in it: {facts['backup_time'] or 'none'}. The original may have gone on since.")
        for stage in facts["emails"]:
            self.stdout.write(
                f"  {stage['stage']}: {stage['queued']:,} queued, {stage['on_the_wire']:,} on the wire,"
                f" for {stage['real_recipients']:,} real recipient(s)"
            )
        self.stdout.write("Answer with --replaces-original or --is-a-copy.")


def _facts() -> dict[str, Any]:
    copy, installation = asking_copy(), Installation.objects.first()
    if copy is not None:
        installation = note_what_came(copy)
    return {
        "identity": identity(),
        "seal": from_text(installation.seal) if installation else {},
        "sealed": _time(installation.sealed) if installation else None,
        "copy": copy is not None,
        "backup_time": _time(installation.backup_time) if installation and copy else None,
        "emails": [
            {
                "stage": stage.stage.key,
                "queued": stage.queued,
                "on_the_wire": stage.on_the_wire,
                "real_recipients": stage.real_recipients,
            }
            for stage in (unsent_by_stage(installation) if installation and copy else [])
        ],
    }


def _time(moment: Any) -> str | None:
    return timezone.localtime(moment).isoformat(timespec="seconds") if moment else None
