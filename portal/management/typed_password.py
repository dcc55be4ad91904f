"""A new password at the terminal."""

from __future__ import annotations

import getpass

from django.core.management.base import CommandError


def typed_twice() -> str:
    """Raises CommandError where none was typed, or two that differ."""
    try:
        password, again = getpass.getpass("Password: "), getpass.getpass("Password (again): ")
    except (EOFError, KeyboardInterrupt) as error:
        raise CommandError("No password was entered: nothing was changed.") from error
    if password != again:
        raise CommandError("The passwords differ: nothing was changed.")
    return password
