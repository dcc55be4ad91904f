"""Report every few seconds, on a separate thread, that a gateway is running. Notice a copied database meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import QuerySet
from django.db.models.functions import Now

from common.outage import Outage
from common.process import new_name
from gateway.models import Gateway
from outbox import storage
from outbox.copies.noticing import notice

log = structlog.get_logger(__name__)

REPORT_SECONDS = 5.0
# How long a stopping gateway may take to report that, because its database may hang.
GOODBYE_SECONDS = 2.0


class Heartbeat:
    """The reports of a gateway.

    `check` is called before each report and returns a warning for the operator, or "".
    """

    def __init__(self, check: Callable[[], str]) -> None:
        self.name = new_name()
        self._check = check
        self._stopping = threading.Event()
        self._outage = Outage("database_unavailable", "database_available")
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Report the end, so that load balancers send no more clients here."""
        self._stopping.set()
        self._thread.join(GOODBYE_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._try(self._report)
            self._try(notice)
            self._stopping.wait(REPORT_SECONDS)
        self._try(Gateway.objects.filter(name=self.name).delete)
        connection.close()

    def _report(self) -> None:
        warning = self._check()
        values = {"seen": Now(), "accepting": storage.has_room(), "warning": warning}
        Gateway.objects.update_or_create(name=self.name, defaults=values)
        Gateway.objects.filter(seen__lt=Now() - 40 * Gateway.STALE_AFTER).delete()

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except (DatabaseError, InterfaceError) as error:
            self._outage.note(error)
            connection.close()
        except Exception:  # a running gateway must not seem dead
            log.exception("heartbeat_failed")
        else:
            self._outage.end()


def living_gateways() -> QuerySet[Gateway]:
    """The gateways that have reported recently, by the database's clock."""
    return Gateway.objects.filter(seen__gt=Now() - Gateway.STALE_AFTER)
