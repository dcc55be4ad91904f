"""The statement that each page runs to see that the member's session goes on."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from common import sql


class SessionUse(NamedTuple):
    """When a session was used last, and what its member's password was then."""

    last_used: datetime | str
    auth_digest: str


# Its parameters: the session, its member, and the times since when it must have been used and begun.
SESSION_USE = sql.query(
    SessionUse,
    """
    SELECT last_used, auth_digest FROM accounts_membersession
    WHERE id = %s AND member_id = %s AND last_used > %s AND started > %s
    """,
)
