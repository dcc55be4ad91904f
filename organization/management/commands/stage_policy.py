"""manage.py stage_policy: who gets email from a stage, and what its test mail keeps; shown or changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from common.clock import database_now
from organization.access import Operator
from organization.cli import PortalCommand, moment, stage_by_key
from organization.kept_headers.changes import keep_header, stop_keeping_header
from organization.models import AllowedAddress, Stage
from organization.recipient_policy.changes import (
    allow,
    change_policy,
    disallow,
    end_ahead,
    policy_in_force,
    wait_until_none_in_flight,
)
from organization.recipient_policy.policy import RecipientPolicy


class Command(PortalCommand):
    help = "Show who gets email from a stage and which header fields its test mail keeps, or change it."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_stage(parser)
        parser.add_argument("--policy", choices=RecipientPolicy.values, help="who gets email from now on")
        parser.add_argument(
            "--until",
            type=moment,
            metavar="WHEN",
            help="when the wider policy, or what is allowed, ends: such as 2026-12-01T18:00Z",
        )
        several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
        parser.add_argument("--allow", metavar="A", help="addresses and domains that may get email", **several)
        parser.add_argument("--disallow", metavar="A", help="addresses and domains that may no longer get email", **several)
        parser.add_argument("--keep-header", metavar="NAME", help="header fields that test mail keeps from now on", **several)
        parser.add_argument("--no-keep-header", metavar="NAME", help="header fields that it no longer keeps", **several)
        self.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        stage = stage_by_key(options["stage"])
        if options["until"] and bool(options["policy"]) == bool(options["allow"]):
            raise CommandError("--until is the end of --policy or of --allow: give it with one of them.")
        with transaction.atomic():
            _change(stage, options, self.operator)
        if options["policy"] or options["disallow"]:
            self._wait(stage)
        self._show(Stage.objects.get(pk=stage.pk), as_json=options["json"])

    def _wait(self, stage: Stage) -> None:
        if leaving := wait_until_none_in_flight(stage):
            self.stderr.write(f"Still being sent: {leaving} email(s) that were handed to the server before.")

    def _show(self, stage: Stage, *, as_json: bool) -> None:
        now = database_now()
        shown = _shown(stage, now)
        if as_json:
            self.write_json(shown)
            return
        until = f" until {shown['until']}, then {shown['afterwards']}" if shown["until"] else ""
        self.stdout.write(f"{stage.name} is {policy_in_force(stage, now).label}{until} ({shown['policy']})")
        allowed = ", ".join(_allowed_in_words(entry) for entry in _allowed_now(stage, now))
        self.stdout.write(f"Allowed addresses and domains: {allowed or 'none'}")
        self.stdout.write(f"Header fields that test mail keeps: {', '.join(shown['kept_headers']) or 'no others'}")


def _change(stage: Stage, options: dict[str, Any], actor: Operator) -> None:
    """The operator has typed the stage's key, so the name isn't asked for. What narrows comes first."""
    name = stage.name
    for pattern in options["disallow"]:
        disallow(stage, pattern, actor)
    for header in options["no_keep_header"]:
        _stop_keeping(stage, header, actor)
    if options["policy"]:
        policy = RecipientPolicy(options["policy"])
        change_policy(stage, policy, actor, until=options["until"], typed_stage_name=name)
    if options["allow"]:
        allow(stage, options["allow"], actor, until=options["until"], typed_stage_name=name)
    for header in options["keep_header"]:
        keep_header(stage, header, actor, typed_stage_name=name)


def _stop_keeping(stage: Stage, name: str, actor: Operator) -> None:
    kept = stage.kept_headers.filter(name__iexact=name).first()
    if kept is None:
        raise CommandError(f"Test mail of {stage.name} doesn't keep {name}.")
    stop_keeping_header(kept, actor)


def _shown(stage: Stage, now: datetime) -> dict[str, Any]:
    end = end_ahead(stage, now)
    return {
        "stage": stage.key,
        "policy": policy_in_force(stage, now).value,
        "until": end.isoformat() if end else None,
        "afterwards": stage.policy_afterwards if end else None,
        "allowed": [
            {"pattern": entry.pattern, "until": entry.until.isoformat() if entry.until else None}
            for entry in _allowed_now(stage, now)
        ],
        "kept_headers": [kept.name for kept in stage.kept_headers.all()],
    }


def _allowed_now(stage: Stage, now: datetime) -> list[AllowedAddress]:
    return [entry for entry in stage.allowed_addresses.all() if not entry.is_expired(now)]


def _allowed_in_words(entry: AllowedAddress) -> str:
    return f"{entry.pattern} (until {entry.until.isoformat()})" if entry.until else entry.pattern
