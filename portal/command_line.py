"""What holds for every `manage.py` command: readable arguments, keys of one's own, and one clear line for what goes wrong."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import DatabaseError, InterfaceError

from common.sql import database_trouble
from portal.checks import refuse_published_keys
from portal.release import RELEASE

# These answer without secrets, so that an image can be built and a configuration checked. makemigrations only compares
# the history it finds in a database, and goes on without one.
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
    """Run `manage.py …`. Ends with 1 and one line on standard error when it can't be done."""
    _refuse_undecodable(arguments)
    if list(arguments[1:]) == ["version"]:  # Django's own command of this name tells Django's version
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
    """Python keeps a byte that isn't UTF-8 as half of a character, which no database, log or server takes."""
    for number, argument in enumerate(arguments):
        if not argument.isascii() and any("\ud800" <= character <= "\udfff" for character in argument):
            shown = argument.encode(errors="surrogateescape").decode(errors="backslashreplace")
            sys.exit(f"CommandError: argument {number} isn't UTF-8: {shown}")


def _needs_secrets(arguments: Sequence[str]) -> bool:
    command = arguments[1] if len(arguments) > 1 else "help"
    return command not in _WITHOUT_SECRETS and not _ASKS_FOR_HELP.intersection(arguments)
