"""The rules for every `manage.py` command: readable arguments, no published keys, and one clear line for each error."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import DatabaseError, InterfaceError

from common.sql import database_trouble
from portal.checks import refuse_published_keys
from portal.release import RELEASE

# These run without secrets, so that you can build an image and check a configuration. makemigrations only compares the
# history in a database, and works without one.
_WITHOUT_SECRETS = frozenset(
    {
        "check",
        "collectstatic",
        "compilemessages",
        "demo_smtp_server",
        "findstatic",
        "help",
        "makemessages",
        "makemigrations",
        "version",
    }
)
_ASKS_FOR_HELP = frozenset({"-h", "--help", "--version"})


def run(arguments: Sequence[str]) -> None:
    """Run `manage.py …`. If that fails, end with 1 and one line on standard error."""
    _refuse_undecodable(arguments)
    if list(arguments[1:]) == ["version"]:  # Django's command of this name prints the version of Django
        print(RELEASE)
        return
    try:
        if _needs_secrets(arguments):
            refuse_published_keys()
        execute_from_command_line(list(arguments))
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    except (DatabaseError, InterfaceError) as error:
        if (trouble := database_trouble(error)) is None or "--traceback" in arguments:
            raise
        sys.exit(f"CommandError: {trouble.sentence} ({' '.join(str(error).split())})")


def _refuse_undecodable(arguments: Sequence[str]) -> None:
    """Refuse arguments that aren't UTF-8. Python would keep such a byte as half a character, which no database accepts."""
    for number, argument in enumerate(arguments):
        if not argument.isascii() and any("\ud800" <= character <= "\udfff" for character in argument):
            shown = argument.encode(errors="surrogateescape").decode(errors="backslashreplace")
            sys.exit(f"CommandError: argument {number} isn't UTF-8: {shown}")


def _needs_secrets(arguments: Sequence[str]) -> bool:
    command = arguments[1] if len(arguments) > 1 else "help"
    return command not in _WITHOUT_SECRETS and not _ASKS_FOR_HELP.intersection(arguments)
