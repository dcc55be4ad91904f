"""Something that a process depends on and that may be away: logged once when that begins, and once when it is over."""

from __future__ import annotations

import structlog

from common.clock import uptime
from common.database_trouble import WRITE_LOCK_HELD
from common.sql import is_locked

log = structlog.get_logger(__name__)


class Outage:
    """`event` names its beginning in the log, `over` its end. Not for several threads."""

    def __init__(self, event: str, over: str) -> None:
        self._event, self._over = event, over
        self._since: float | None = None

    def note(self, error: object) -> None:
        """It failed. Logged the first time only."""
        if self._since is None:
            self._since = uptime()
            locked = isinstance(error, BaseException) and is_locked(error)
            context = {"cause": WRITE_LOCK_HELD} if locked else {}
            log.error(self._event, error=" ".join(str(error).split()), **context)

    def end(self) -> None:
        """It worked."""
        if self._since is not None:
            log.info(self._over, seconds=round(uptime() - self._since, 1))
            self._since = None
