"""How long the parts of a worker wait, and how much they hold. Pure.

Every number that must fit another one is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings


@dataclass(frozen=True)
class DeliveryConfig:
    """The configuration of one worker. Production runs with the defaults; a test builds its own.

    `window`: how many messages of one connection may be sent and not yet recorded. That many can arrive twice after a crash.
    """

    window: int = 2

    # The lease of a claimed message (see leases), and how much earlier its own worker counts it as over.
    lease: timedelta = timedelta(seconds=60)
    renew_every: timedelta = timedelta(seconds=20)
    lease_margin_seconds: float = 5.0
    # How long written bytes may wait in the kernel: less than is left of a lease that is renewed in time.
    unsent_seconds: float = 30.0

    # How long a server may take for one reply (RFC 5321 section 4.5.3.2). If we give up early on a message that the server
    # accepts in the end, that message is sent twice.
    reply_seconds: float = 300.0
    final_reply_seconds: float = 600.0
    # The connection is cut when an exchange takes longer than this, after adding the time for its bytes at the slowest speed.
    exchange_seconds: float = 1200.0
    slowest_bytes_per_second: int = 10_000
    quit_seconds: float = 5.0
    # A server that is silent about a message for this long hangs. Other messages don't wait for it.
    silent_seconds: float = 5.0
    watch_seconds: float = 0.5

    # How often a worker looks for due messages: a busy one, and an idle one that receives hints about them (see listener).
    poll_seconds: float = 0.05
    idle_seconds: float = 1.0
    # How long a worker stays busy after a message: more may follow, and their hints are up to a tenth of a second late.
    awake_seconds: float = 1.0
    sweep_seconds: float = 10.0

    @classmethod
    def from_settings(cls) -> DeliveryConfig:
        """The configuration with the operator's settings."""
        return cls(window=settings.DELIVERY_WINDOW)

    @property
    def claims_per_connection(self) -> int:
        """One more than the window: the envelope of the last message is offered while its content stays here."""
        return self.window + 1
