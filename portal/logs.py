"""What every line of the log keeps to: it is one line, whatever its text is, and has no link that lets its reader in."""

from __future__ import annotations

import re
from typing import Any

from structlog.typing import EventDict, Processor, WrappedLogger

# Characters that a terminal or log collector reads as a line end or a command.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Within a value they would look like the end of it.
_SEPARATES = re.compile(r"[\s=\"']")


# The token of an account's link (see accounts.links) in a URL, also where that is a part of another one.
_LINK = re.compile(r"(accounts(?:/|%2F)(?:invitation|password-reset)(?:/|%2F)+)[\w%.~+=-]+", re.IGNORECASE)
# What the provider of single sign-on gives the browser to come back with: a code that becomes a token.
_CALLBACK = re.compile(r"(accounts(?:/|%2F)single-sign-on(?:/|%2F)callback(?:/|%2F)*(?:\?|%3F))[\w%.~+=&:/-]+", re.IGNORECASE)


class WithoutLinks:
    """A renderer that leaves out the tokens of links with which a member chooses a password, and the codes of single sign-on."""

    def __init__(self, renderer: Processor) -> None:
        self.renderer = renderer

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        text = str(self.renderer(logger, name, event))
        if "accounts" not in text.lower():  # nearly always; to look for the patterns takes longer
            return text
        return _CALLBACK.sub(r"\1***", _LINK.sub(r"\1***", text))


def console_line(logger: WrappedLogger, name: str, event: EventDict) -> str:
    """Render `time [level] event [logger] key=value`, with the keys in their order.

    It looks like structlog's own ConsoleRenderer, which takes six times as long.
    """
    heading = f"{event.pop('timestamp')} [{event.pop('level'):<9}] {event.pop('event'):<30} [{event.pop('logger')}]"
    traces = [event.pop(key) for key in ("stack", "exception") if key in event]
    values = [f"{key}={_value(value)}" for key, value in sorted(event.items())]
    return "\n".join([" ".join([heading, *values]), *traces])


def _value(value: object) -> str:
    return value if isinstance(value, str) and not _SEPARATES.search(value) else repr(value)


class OneLine:
    """A renderer that escapes line breaks and control characters in its text, also in tracebacks."""

    def __init__(self, renderer: Processor) -> None:
        self.renderer = renderer

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        text: Any = self.renderer(logger, name, event)
        return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))
