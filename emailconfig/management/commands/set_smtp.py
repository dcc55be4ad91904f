"""manage.py set_smtp: replace a stage's SMTP settings. What is left out gets its default."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from emailconfig.forms import SmtpSettingsForm
from emailconfig.models import SmtpSettings
from emailconfig.services import save_smtp_settings, settings_of
from organization.cli import PortalCommand, stage_by_key


class Command(PortalCommand):
    help = "Replace the SMTP settings of a stage. The stored secret is kept only if nothing it belongs to changes."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_stage(parser)
        parser.add_argument("--server", required=True)
        parser.add_argument("--port", default="587")
        parser.add_argument("--security", default="starttls", choices=SmtpSettings.Security.values)
        parser.add_argument("--authentication", default="none", choices=SmtpSettings.Authentication.values)
        parser.add_argument("--username", default="", help="with oauth2: the mailbox, where it isn't the sender's")
        parser.add_argument("--token-url", default="", help="with oauth2: where tokens are asked for, https://…")
        parser.add_argument("--client-id", default="")
        parser.add_argument("--scopes", default="", help="separated by spaces")
        parser.add_argument(
            "--client-authentication",
            default=SmtpSettings.ClientAuthentication.POST,
            choices=SmtpSettings.ClientAuthentication.values,
            help="how the client secret is sent to the token server",
        )
        parser.add_argument("--secret-ends", default="", metavar="YYYY-MM-DD", help="until when the client secret holds")
        secret = parser.add_mutually_exclusive_group()
        secret.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
        secret.add_argument("--client-secret-stdin", action="store_true", help="read the client secret from standard input")
        parser.add_argument("--sender-address", required=True)
        parser.add_argument("--sender-name", default="")
        parser.add_argument(
            "--from-domains",
            default="",
            help="other sender domains allowed, separated by commas; *.acme.example for those below, * for any",
        )
        parser.add_argument(
            "--ca-file",
            type=Path,
            help="PEM file with the CA that signed the server's certificate, and perhaps the token server's",
        )
        parser.add_argument("--connections", default="4")
        parser.add_argument("--mails-per-minute", default="0", help="0 for no limit")
        parser.add_argument("--recipients-per-transaction", default="100", help="more go in several parts, 1 to 1000")
        parser.add_argument("--ehlo-name", default="", help="what the portal calls itself in EHLO; default: its machine's name")

    def handle(self, *args: Any, **options: Any) -> None:
        stage = stage_by_key(options["stage"])
        settings = settings_of(stage) or SmtpSettings(stage=stage)
        names = [name for name in SmtpSettingsForm.Meta.fields if name != "ca_certificate"]
        data = {name: options[name] for name in names}
        data |= {
            "ca_certificate": _read(options["ca_file"]),
            "password": _from_stdin() if options["password_stdin"] else "",
            "client_secret": _from_stdin() if options["client_secret_stdin"] else "",
            "version": settings.version,
        }
        form = SmtpSettingsForm(data, instance=settings)
        if not form.is_valid():
            raise ValidationError(form.errors.as_data())
        save_smtp_settings(form.instance, self.operator)
        self.stdout.write(f"{stage.name} sends through {settings}. It applies to all apps from the next mail on.")


def _from_stdin() -> str:
    """Never an argument: everybody on the machine sees those."""
    try:
        secret = sys.stdin.readline().rstrip("\r\n")
        secret.encode()
    except UnicodeError as error:  # without its text, which holds the secret
        raise CommandError("The secret on standard input isn't UTF-8.") from error
    return secret


def _read(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The file {file} can't be read: {error}") from error
