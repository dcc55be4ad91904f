"""manage.py health: is this machine's process alive? It is for containers, whose supervisor runs a command."""

from __future__ import annotations

import smtplib
import socket
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, InterfaceError

from common.process import limit_waits
from delivery.connection_slots import living_workers
from organization.cli import PortalCommand

_PATIENCE_SECONDS = 5.0
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # the listening address, and the address to reach it from here


class Command(PortalCommand):
    help = "End with 0 if this machine's gateway greets, or if a worker of this machine has reported lately; else with 1."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("process", choices=["gateway", "worker"])
        parser.add_argument("--port", type=int, default=settings.GATEWAY_PORT, help="the gateway's")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["process"] == "gateway":
            _check_greeting(options["port"])
        else:
            _check_reports()
        self.stdout.write("ok")


def _check_greeting(port: int) -> None:
    """Check that the gateway greets. Without its database it is still alive, because a restart would not help."""
    host = _EVERY_ADDRESS.get(settings.GATEWAY_HOST, settings.GATEWAY_HOST)
    try:
        with smtplib.SMTP(host, port, timeout=_PATIENCE_SECONDS):
            pass
    except (OSError, smtplib.SMTPException) as error:
        raise CommandError(f"The gateway doesn't greet on {host}:{port}: {error}") from error


def _check_reports() -> None:
    limit_waits()
    try:
        if not living_workers().filter(name__startswith=f"{socket.gethostname()}:").exists():
            raise CommandError("No worker of this machine has reported within the last 15 seconds.")
    except (DatabaseError, InterfaceError) as error:
        raise CommandError(f"The database is unavailable, so no worker can report: {error}") from error
