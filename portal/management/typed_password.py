"""A new password at the terminal."""

from __future__ import annotations

import getpass

from django.core.management.base import CommandError


def typed_twice() -> str:
    """Ask for the password twice. Raises CommandError if it is empty or the two differ."""
    try:
        password, again = getpass.getpass("Password: "), getpass.getpass("Password (again): ")
    except (EOFError, KeyboardInterrupt) as error:
        raise CommandError("No password was entered: nothing was changed.") from error
    if password != again:
        raise CommandError("The passwords differ: nothing was changed.")
    return password
