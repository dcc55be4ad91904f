"""manage.py guarantee: who got email from a stage, by which rule, and who changed that."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date

from analytics.guarantee.check import compare
from analytics.guarantee.document import export
from analytics.guarantee.figures import Figures
from analytics.guarantee.report import Guarantee, Promise, guarantee_of
from analytics.models import CountedRule
from common.clock import database_now
from organization.cli import PortalCommand, moment, stage_by_key
from outbox.access.visibility import LogAccess

DAYS = 30
_WORDS = {
    Promise.HOLDS: "Nobody outside test lists and allowed addresses could get email, and nobody did.",
    Promise.WAS_OPEN: "It was open for some of the time. For the rest of the time nobody outside got email.",
    Promise.OPEN: "It is open: apps can write to anyone, so nothing is promised.",
    Promise.BROKEN: "BROKEN: recipients outside got email, or may have got it, while the stage was closed to them.",
}


def _since(text: str) -> datetime:
    """A day in the portal's time zone, or an ISO 8601 time. Raises ValueError."""
    day = parse_date(text)
    return timezone.make_aware(datetime.combine(day, time.min)) if day else moment(text)


class Command(PortalCommand):
    help = "Say who got email from a stage, by which rule, and who changed that."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_stage(parser)
        parser.add_argument(
            "--since", type=_since, metavar="D", help=f"a day or time, such as 2026-11-01; {DAYS} days ago if not given"
        )
        parser.add_argument("--check", action="store_true", help="compare the counts with the rows; reads all of them")
        self.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        stage, now = stage_by_key(options["stage"]), database_now()
        since = options["since"] or now - timedelta(days=DAYS)
        if since > now:
            raise CommandError("--since is in the future.")
        access = LogAccess(stage, every_app=True, every_app_open=True)
        guarantee = guarantee_of(access, since, now, each_app=options["json"])
        if options["json"]:
            self.stdout.write(export(guarantee, self.operator).text)
        else:
            self._show(guarantee)
        if options["check"]:
            self._check(guarantee)

    def _show(self, guarantee: Guarantee) -> None:
        total = guarantee.total
        self.stdout.write(f"{guarantee.stage.name} since {_time(guarantee.since)}: {guarantee.policy.label}")
        self.stdout.write(f"{total.outside:,} recipients outside got email. {_WORDS[guarantee.promise]}")
        if guarantee.counted_until:
            self.stdout.write(f"What happened since {_time(guarantee.counted_until)} isn't counted yet.")
        for name, value in _rows(total):
            self.stdout.write(f"  {value:>12,}  {name}")
        for span in guarantee.open_spans:
            self.stdout.write(f"Open from {_time(span.start)} to {_time(span.end) if span.end else 'now'}")
        for entry in (*guarantee.changes.rows, *guarantee.acts.rows):
            email = f"#{entry.email} " if entry.email else ""
            place = f"{entry.app}: " if entry.app else ""
            self.stdout.write(f"{_time(entry.at)}  {place}{email}{entry.what}{f', by {entry.who}' if entry.who else ''}")

    def _check(self, guarantee: Guarantee) -> None:
        """To standard error, so that the JSON stays alone."""
        comparisons = compare(guarantee.access, guarantee.since, guarantee.total)
        for row in comparisons:
            self.stderr.write(f"{row.name}: {row.counted:,} counted, {row.in_rows:,} in the rows", style_func=str)
        if not all(row.fits for row in comparisons):
            raise CommandError("The counts and the rows differ.")


def _rows(total: Figures) -> list[tuple[str, int]]:
    by_rule = [(rule.label, total.recipients[rule]) for rule in CountedRule]
    maybe = [(f"{rule.label}: no answer, may have arrived", total.unknown[rule]) for rule in CountedRule if total.unknown[rule]]
    return [("emails accepted", total.emails), ("copies captured", total.captured), *by_rule, *maybe]


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
