"""Log an outage once when it begins and once when it ends."""

from __future__ import annotations

import structlog

from common.clock import uptime
from common.database_trouble import WRITE_LOCK_HELD
from common.sql import is_locked

log = structlog.get_logger(__name__)


class Outage:
    """The outage of something that a process depends on, such as the database.

    `event` is logged when it begins and `over` when it ends. Not safe for use by several threads.
    """

    def __init__(self, event: str, over: str) -> None:
        self._event, self._over = event, over
        self._since: float | None = None

    def note(self, error: object) -> None:
        """Record a failure. Only the first of an outage is logged."""
        if self._since is None:
            self._since = uptime()
            locked = isinstance(error, BaseException) and is_locked(error)
            context = {"cause": WRITE_LOCK_HELD} if locked else {}
            log.error(self._event, error=" ".join(str(error).split()), **context)

    def end(self) -> None:
        """Record a success, which ends an outage."""
        if self._since is not None:
            log.info(self._over, seconds=round(uptime() - self._since, 1))
            self._since = None
