"""The base class of our management commands.

It finds apps and stages by key, knows who acts, and ends a refused command with one clear line.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from common.exceptions import PortalError
from organization.access import Operator
from organization.models import App, Stage


class PortalCommand(BaseCommand):
    """The base of our commands. What a service refuses ends them with exit code 1 and one line on stderr."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        with one_clear_line():
            return super().execute(*args, **options)

    @property
    def operator(self) -> Operator:
        """Who acts, as the audit trail names them."""
        return operator(type(self).__module__.rpartition(".")[2])

    def add_app(self, parser: CommandParser) -> None:
        parser.add_argument("app", help="the app's key, such as crm")

    def add_stage(self, parser: CommandParser) -> None:
        parser.add_argument("stage", help="the stage's key, such as qa")

    def add_json(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")

    def write_json(self, value: object) -> None:
        self.stdout.write(json.dumps(value, ensure_ascii=False))


def app_by_key(key: str) -> App:
    app = App.objects.filter(key=key).first()
    if app is None:
        raise CommandError(f"There is no app “{key}”. Known: {_known(App.objects.values_list('key', flat=True))}.")
    return app


def stage_by_key(key: str) -> Stage:
    stage = Stage.objects.filter(key=key).first()
    if stage is None:
        raise CommandError(f"There is no stage “{key}”. Known: {_known(Stage.objects.values_list('key', flat=True))}.")
    return stage


def operator(command: str) -> Operator:
    """The operator who runs the command, as the audit trail names them."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown user"
    return Operator(f"{user} (manage.py {command})")


@contextmanager
def one_clear_line() -> Iterator[None]:
    """End the command with exit code 1 and one line on stderr if a service refuses."""
    try:
        yield
    except ValidationError as error:
        raise CommandError(" ".join(_lines(error))) from error
    except (PermissionDenied, PortalError) as error:
        raise CommandError(str(error)) from error


def _lines(error: ValidationError) -> list[str]:
    if not hasattr(error, "error_dict"):
        return error.messages
    return [
        text if field == "__all__" else f"{field}: {text}" for field, messages in error.message_dict.items() for text in messages
    ]


def _known(keys: object) -> str:
    return ", ".join(sorted(keys)) or "none yet"  # type: ignore[call-overload]


def moment(text: str) -> datetime:
    """Raises ValueError, which the parser turns into its own error, for what isn't an ISO 8601 time."""
    parsed = parse_datetime(text)
    if parsed is None:
        raise ValueError(text)
    return parsed if timezone.is_aware(parsed) else timezone.make_aware(parsed)
