"""manage.py send_email: submit one message as an app."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any

from django.core.mail import EmailMultiAlternatives
from django.core.management.base import CommandError, CommandParser

from common.addresses import NamedAddress, parse_named_address, printable, read_named_address
from emailconfig.services import settings_of
from organization.cli import PortalCommand, app_by_key, stage_by_key
from organization.models import Stage
from outbox.models import Message, Source, Status
from outbox.submission import Envelope, new_message_id, submit


class Command(PortalCommand):
    help = "Submit one email as an app in a stage. It is routed and delivered like any other."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_app(parser)
        self.add_stage(parser)
        for name in ("to", "cc", "bcc"):
            parser.add_argument(f"--{name}", nargs="+", action="extend", default=[], required=name == "to", metavar="ADDRESS")
        parser.add_argument("--from", dest="sender", default="", help="default: the stage's sender")
        parser.add_argument("--subject", required=True)
        parser.add_argument("--body", default="")
        parser.add_argument("--html", default="")
        parser.add_argument("--attach", nargs="+", action="extend", type=Path, default=[], metavar="FILE")
        self.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        app, stage = app_by_key(options["app"]), stage_by_key(options["stage"])
        sender = parse_named_address(options["sender"]) if options["sender"] else _stage_sender(stage)
        to, cc, bcc = ([read_named_address(text) for text in options[name]] for name in ("to", "cc", "bcc"))
        mail = EmailMultiAlternatives(
            options["subject"], options["body"], str(sender), [*map(str, to)], cc=[*map(str, cc)], bcc=[*map(str, bcc)]
        )
        mail.extra_headers["Message-ID"] = new_message_id(sender.email)
        if options["html"]:
            mail.attach_alternative(options["html"], "text/html")
        for file in options["attach"]:
            mail.attach(file.name, _read(file), mimetypes.guess_type(file.name)[0])
        try:
            content = mail.message().as_bytes()
            envelope = Envelope(sender.email, [person.email for person in (*to, *cc, *bcc)])
            message = submit(app, stage, envelope, content, via=Source.COMMAND)
        except ValueError as error:
            raise CommandError(str(error)) from error
        self._show(message, as_json=options["json"])

    def _show(self, message: Message, *, as_json: bool) -> None:
        routed = list(message.recipients.exclude(status=Status.FAILED).values_list("address", flat=True))
        refused = dict(message.recipients.filter(status=Status.FAILED).values_list("address", "last_reply"))
        if as_json:
            facts = {"id": message.pk, "status": message.status, "route": message.route, "requested": message.requested}
            self.write_json({**facts, "recipients": routed, "refused": refused})
            return
        reason = f": {message.get_hold_reason_display()}" if message.status == Status.HELD else ""
        self.stdout.write(f"Mail {message.pk} is {message.get_status_display().lower()}{reason}")
        self.stdout.write(f"Route: {message.get_route_display()}, to {', '.join(routed) or 'nobody yet'}")
        for address, words in refused.items():
            self.stdout.write(f"Failed: {printable(address)}. {words}")


def _stage_sender(stage: Stage) -> NamedAddress:
    settings = settings_of(stage)
    if settings is None:
        raise CommandError(f"{stage.name} has no SMTP settings and so no sender yet. Name one with --from.")
    return NamedAddress(settings.sender_address, settings.sender_name)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CommandError(f"The file {file} can't be read: {error}") from error
