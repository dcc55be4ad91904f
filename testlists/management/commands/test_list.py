"""manage.py test_list: show or change an app's test list in a stage."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from common.addresses import NamedAddress, parse_named_address, same_address_key
from common.clock import database_now
from organization.cli import PortalCommand, app_by_key, moment, stage_by_key
from organization.recipient_policy.changes import policy_in_force
from testlists.models import TestList
from testlists.services import ListChange, save_test_list, test_list_of, wait_until_none_in_flight


class Command(PortalCommand):
    help = "Show an app's test list in a stage, or change it: add or remove people, activate or deactivate it."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_app(parser)
        self.add_stage(parser)
        parser.add_argument(
            "--add", action="append", default=[], metavar="ADDRESS", help="an address or “Name <address>”; can be repeated"
        )
        parser.add_argument("--remove", action="append", default=[], metavar="ADDRESS", help="can be repeated")
        toggle = parser.add_mutually_exclusive_group()
        toggle.add_argument("--activate", dest="active", action="store_true", default=None)
        toggle.add_argument("--deactivate", dest="active", action="store_false")
        end = parser.add_mutually_exclusive_group()
        end.add_argument("--until", type=moment, metavar="WHEN", help="until when the list is Active, such as 2026-12-01T18:00Z")
        end.add_argument("--no-end", action="store_true", help="the list stays Active until you deactivate it")
        self.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        app, stage = app_by_key(options["app"]), stage_by_key(options["stage"])
        test_list = test_list_of(app, stage)
        if any(options[name] for name in ("add", "remove", "until", "no_end")) or options["active"] is not None:
            change = _changed(test_list, options["add"], options["remove"], options["active"])
            change = replace(change, active_until=_end(test_list, options))
            if options["until"] and not change.active:
                raise CommandError("--until is the end of an Active list: give it with --activate.")
            test_list = save_test_list(app, stage, change, self.operator, expected_version=test_list.version)
            if leaving := wait_until_none_in_flight(test_list):
                raise CommandError(f"Saved, and it catches every new email. {leaving} email(s) from before are still being sent.")
        self._show(test_list, as_json=options["json"])

    def _show(self, test_list: TestList, *, as_json: bool) -> None:
        people, now = test_list.people(), database_now()
        policy = policy_in_force(test_list.stage, now)
        until = test_list.active_until.isoformat() if test_list.active_until else None
        if as_json:
            addresses = [{"name": person.name, "email": person.email} for person in people]
            facts = {
                "policy": policy.value,
                "active": test_list.is_active(now),
                "active_until": until,
                "missing": test_list.is_missing,
                "addresses": addresses,
            }
            self.write_json(facts)
            return
        if test_list.is_missing:
            self.stdout.write(
                f"{test_list} is missing. The app's emails are held until you save the list again with --add or --activate."
            )
            return
        self.stdout.write(f"{test_list}: {_status(test_list, now, until)}, {len(people)} address(es)")
        self.stdout.write(f"{test_list.stage.name}: {policy.label}")
        for person in people:
            self.stdout.write(f"  {person}")


def _status(test_list: TestList, now: datetime, until: str | None) -> str:
    if test_list.is_expired(now):
        return f"Expired at {until}"
    if not test_list.active:
        return "Inactive"
    return f"Active until {until}" if until else "Active"


def _end(test_list: TestList, options: dict[str, Any]) -> datetime | None:
    """The end that was given. What was stored stays, unless the list is activated again."""
    if options["until"] or options["no_end"] or options["active"]:
        return options["until"]  # type: ignore[no-any-return]
    return test_list.active_until


def _changed(test_list: TestList, add: list[str], remove: list[str], active: bool | None) -> ListChange:
    """The list with the changes applied.

    Raises ValidationError for an invalid address, or one to remove that isn't on the list.
    """
    leaving = {same_address_key(parse_named_address(text).email): text for text in remove}
    entries = test_list.present_entries()
    present = {same_address_key(entry.person.email) for entry in entries}
    if missing := [text for key, text in leaving.items() if key not in present]:
        raise ValidationError(f"{', '.join(missing)} isn't on the list.")
    staying = [entry for entry in entries if same_address_key(entry.person.email) not in leaving]
    others: list[NamedAddress] = [entry.person for entry in staying if not entry.is_member]
    return ListChange(
        active=test_list.active if active is None else active,
        tag_subject=test_list.tag_subject,
        members=[entry.member for entry in staying if entry.member is not None],
        people=[*others, *(parse_named_address(text) for text in add)],
    )
