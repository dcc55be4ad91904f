"""One event is one line of the log, whatever it says."""

from __future__ import annotations

import re
from typing import Any

from structlog.typing import EventDict, Processor, WrappedLogger

# What a terminal or a log collector takes for the end of a line, or for a command.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class OneLine:
    """A renderer whose text has its line breaks and control characters escaped, those of a traceback included."""

    def __init__(self, renderer: Processor) -> None:
        self.renderer = renderer

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        text: Any = self.renderer(logger, name, event)
        return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))
