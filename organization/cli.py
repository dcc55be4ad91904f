"""Helpers for management commands.

They find apps and stages by key, and end a refused command with one clear line.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management.base import CommandError

from organization.access import Operator
from organization.models import App, Stage


def app_by_key(key: str) -> App:
    found = App.objects.filter(key=key).first()
    if found is None:
        raise CommandError(f"There is no app “{key}”. Known: {_known(App.objects.values_list('key', flat=True))}.")
    return found


def stage_by_key(key: str) -> Stage:
    found = Stage.objects.filter(key=key).first()
    if found is None:
        raise CommandError(f"There is no stage “{key}”. Known: {_known(Stage.objects.values_list('key', flat=True))}.")
    return found


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
    except PermissionDenied as error:
        raise CommandError(str(error)) from error


def _lines(error: ValidationError) -> list[str]:
    if not hasattr(error, "error_dict"):
        return error.messages
    return [
        text if field == "__all__" else f"{field}: {text}" for field, messages in error.message_dict.items() for text in messages
    ]


def _known(keys: object) -> str:
    return ", ".join(sorted(keys)) or "none yet"  # type: ignore[call-overload]
