"""manage.py demo_smtp_server: a catch-all SMTP server for the demo. It keeps every email and forwards none."""

from __future__ import annotations

import asyncio
import contextlib
import mailbox
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session
from django.conf import settings
from django.core.management.base import CommandParser

from organization.cli import PortalCommand

INBOX = Path(settings.DATA_DIR) / "demo-inbox"


class Command(PortalCommand):
    help = "Accept emails for any recipient on 127.0.0.1, print who got them, and keep them in var/demo-inbox (a Maildir)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=2526)

    def handle(self, *args: Any, **options: Any) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(self._serve(options["port"]))

    async def _serve(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        INBOX.parent.mkdir(exist_ok=True)
        inbox = mailbox.Maildir(INBOX)
        server = await loop.create_server(lambda: SMTP(_CatchAll(self, inbox), loop=loop), "127.0.0.1", port)
        self.stdout.write(f"catch-all SMTP server on 127.0.0.1:{port}; emails are kept in {INBOX.relative_to(settings.BASE_DIR)}")
        async with server:
            await server.serve_forever()


class _CatchAll:
    def __init__(self, command: Command, inbox: mailbox.Maildir) -> None:
        self.command, self.inbox = command, inbox

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        mail = mailbox.MaildirMessage(envelope.original_content or b"")
        self.inbox.add(mail)
        to = ", ".join(envelope.rcpt_tos)
        original = f" (X-Original-To: {mail['X-Original-To']})" if mail["X-Original-To"] else ""
        self.command.stdout.write(f"email arrived for {to}: {mail['Subject']}{original}")
        return "250 2.0.0 Ok: kept"
