"""manage.py smtp_gateway: accept messages from apps over SMTP."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from common.process import keep_no_statements, leave_no_lock_behind, limit_waits, spare_the_collector
from gateway.server import serve
from organization.cli import PortalCommand


class Command(PortalCommand):
    help = "Run the SMTP gateway until it is stopped. Apps sign in with a credential and send as to any SMTP server."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.GATEWAY_HOST)
        parser.add_argument("--port", type=int, default=settings.GATEWAY_PORT)
        parser.add_argument(
            "--tls-port", type=int, default=settings.GATEWAY_TLS_PORT, help="port for implicit TLS, or 0 for none"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["tls_port"] and not settings.GATEWAY_TLS_CERT:
            raise CommandError("GATEWAY_TLS_PORT needs GATEWAY_TLS_CERT and GATEWAY_TLS_KEY. Set them too.")
        spare_the_collector()
        keep_no_statements()
        leave_no_lock_behind()
        limit_waits()
        try:
            asyncio.run(_until_signalled(options["host"], options["port"], options["tls_port"]))
        except OSError as error:
            raise CommandError(f"The gateway can't listen on {options['host']}:{options['port']}: {error}") from error


async def _until_signalled(host: str, port: int, tls_port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(host, port, stop, tls_port)
