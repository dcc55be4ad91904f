"""Our `Received` line, and the loops that it shows. Pure.

The lines that a message carries show that it came back. At its second visit the same app and stage recognize it, and at the
latest at its third visit this installation does. Where a server removes our lines, the number of its lines shows the loop.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from outbox.headers.parser import HeaderField
from outbox.models import Source

# RFC 5321 section 6.3 asks for 100 at least; Postfix stops at 50.
MAX_RECEIVED_LINES = 50
MAX_OWN_LINES = 3
_PROTOCOLS: dict[str, str] = {Source.GATEWAY: "ESMTPSA"}  # the other sources submit on this machine: LOCAL
# In test mail the lines of others, and ours of an earlier round, have a name that a mailbox fetcher ignores.
_RECEIVED = re.compile(rb"(?:x-original-)*received")
_OURS = re.compile(rb"from ([a-z0-9_-]+) by \S+ with (?:ESMTPSA|HTTP|LOCAL) id ([A-Za-z0-9-]+)\.\d+; .* \(([a-z0-9-]+)\)")


@dataclass(frozen=True)
class Hop:
    """One passage of a message through this installation. `host`: the portal's own name."""

    app_key: str
    stage_key: str
    via: str
    installation: str
    host: str
    number: int
    date: datetime

    def received_line(self) -> bytes:
        """The `Received` line. The message leaves us, so it omits the client's address, its username and the recipients."""
        protocol = _PROTOCOLS.get(self.via, "LOCAL")
        return (
            f"Received: from {self.app_key} by {self.host} with {protocol} id {self.installation}.{self.number};\r\n"
            f" {header_date(self.date)} ({self.stage_key})\r\n"
        ).encode()


def header_date(moment: datetime) -> str:
    """The moment as a header's date. The database's times are UTC, with or without a time zone."""
    return format_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def loop_reason(fields: Sequence[HeaderField], app_key: str, stage_key: str, installation: str) -> str:
    """Why a message with these fields is in a loop; empty when it isn't."""
    lines = [field.value for field in fields if _RECEIVED.fullmatch(field.name)]
    own = [(app.decode(), stage.decode()) for app, origin, stage in _own_lines(lines) if origin == installation.encode()]
    if (app_key, stage_key) in own:
        return f"Mail loop: {app_key} sent this message in {stage_key} before, and it came back."
    if len(own) >= MAX_OWN_LINES:
        return f"Mail loop: this message has passed the portal {len(own)} times."
    if len(lines) >= MAX_RECEIVED_LINES:
        return f"Mail loop: this message has {len(lines)} Received lines."
    return ""


def _own_lines(lines: Sequence[bytes]) -> list[tuple[bytes, bytes, bytes]]:
    matches = map(_OURS.fullmatch, lines)
    return [(match[1], match[2], match[3]) for match in matches if match]
