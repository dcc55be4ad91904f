"""Keep each event on one line of the log, whatever its text is."""

from __future__ import annotations

import re
from typing import Any

from structlog.typing import EventDict, Processor, WrappedLogger

# Characters that a terminal or log collector reads as a line end or a command.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class OneLine:
    """A renderer that escapes line breaks and control characters in its text, also in tracebacks."""

    def __init__(self, renderer: Processor) -> None:
        self.renderer = renderer

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        text: Any = self.renderer(logger, name, event)
        return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))
