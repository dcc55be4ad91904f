"""How long the parts of a worker wait, and how much they hold: every number that must fit another one. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings


@dataclass(frozen=True)
class DeliveryConfig:
    """One worker's. The defaults are what production runs with; a test builds its own.

    `window`: how many messages of one connection may be sent and not yet recorded. That many can arrive twice after a crash.
    """

    window: int = 2

    # The lease of a claimed message (see leases), and how much earlier its own worker counts it as over.
    lease: timedelta = timedelta(seconds=60)
    renew_every: timedelta = timedelta(seconds=20)
    lease_margin_seconds: float = 5.0
    # How long written bytes may wait in the kernel: less than is left of a lease that is renewed in time.
    unsent_seconds: float = 30.0

    # How long a server may take for one reply (RFC 5321 section 4.5.3.2): giving up early on a message that it accepts in the
    # end sends that message twice.
    reply_seconds: float = 300.0
    final_reply_seconds: float = 600.0
    # How long it may take over one exchange, and in all at least so many bytes a second; then the connection is cut.
    exchange_seconds: float = 1200.0
    slowest_bytes_per_second: int = 10_000
    quit_seconds: float = 5.0
    # A server that says nothing for so long over a message hangs: other messages don't wait for it.
    silent_seconds: float = 5.0
    watch_seconds: float = 0.5

    # How often a worker looks for due messages, and an idle one that is told of them (see listener).
    poll_seconds: float = 0.05
    idle_seconds: float = 1.0
    # Where there was a message there may be more, and hints are up to a tenth of a second late then.
    awake_seconds: float = 1.0
    sweep_seconds: float = 10.0

    @classmethod
    def from_settings(cls) -> DeliveryConfig:
        """As the operator has set it."""
        return cls(window=settings.DELIVERY_WINDOW)

    @property
    def claims_per_connection(self) -> int:
        """One more than the window: its envelope is offered meanwhile, its content stays here."""
        return self.window + 1
