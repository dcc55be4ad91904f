"""Count refused sign-ins of clients.

A right password is always accepted: it is checked before anything is counted, and no one guesses 256 random bits. So one
failing app doesn't stop others behind the same address.
"""

from __future__ import annotations

from typing import NamedTuple

from common.clock import database_now
from gateway.connection_limits import is_trusted_proxy
from organization.models import Credential
from organization.throttle.counting import Pair, count_failure, state_of
from organization.throttle.delays import TRUSTED_AFTER_SUCCESS
from organization.throttle.models import Secret

MAX_PER_CONNECTION = 5
TOO_MANY_FAILED_SIGN_INS = "421 4.7.0 Too many failed sign-ins; try again later"


class FailedSignIn(NamedTuple):
    """A refused sign-in, for the log and for what becomes of the connection."""

    username: str
    ends_connection: bool


def count_failed_sign_in(username: str, client: str) -> FailedSignIn:
    """Count a wrong username or password.

    A name or address that has to wait is only looked at, so that a flood doesn't write. A trusted proxy's address is that of
    many clients, so that failures count only toward the limit of a connection.
    """
    # A database refuses some characters in a query. An unknown username may be a password in the wrong field.
    credential = Credential.objects.filter(username=username).first() if username.isprintable() else None
    shown = username if credential else "unknown"
    if is_trusted_proxy(client):
        return FailedSignIn(shown, ends_connection=False)
    pair = Pair(Secret.CREDENTIAL, username, client)
    wait = state_of(pair).wait
    if not wait:
        wait = count_failure(pair, also_network=not _succeeded_lately(credential, client)).wait
    return FailedSignIn(shown, ends_connection=bool(wait))


def _succeeded_lately(credential: Credential | None, client: str) -> bool:
    if credential is None or credential.last_used is None or credential.last_used_from != client:
        return False
    return database_now() - credential.last_used < TRUSTED_AFTER_SUCCESS
