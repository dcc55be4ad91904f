"""manage.py set_smtp: replace a stage's SMTP settings.

An option that is left out gets its default. What was held for missing settings stays held unless --held says otherwise.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from emailconfig.forms import SmtpSettingsForm
from emailconfig.models import SmtpSettings
from emailconfig.services import save_smtp_settings, settings_of
from organization.access import Scope
from organization.cli import PortalCommand, stage_by_key
from outbox.holding.held_mail import Choice
from outbox.management.held_answer import answer_for_command


class Command(PortalCommand):
    help = "Replace the SMTP settings of a stage. The stored secret is kept only if none of the settings it belongs to change."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_stage(parser)
        parser.add_argument("--server", required=True)
        parser.add_argument("--port", default="587")
        parser.add_argument("--security", default="starttls", choices=SmtpSettings.Security.values)
        parser.add_argument("--authentication", default="none", choices=SmtpSettings.Authentication.values)
        parser.add_argument("--username", default="", help="with oauth2: the mailbox, if it isn't the sender's")
        parser.add_argument("--token-url", default="", help="with oauth2: where tokens are requested, https://…")
        parser.add_argument("--client-id", default="")
        parser.add_argument("--scopes", default="", help="separated by spaces")
        parser.add_argument(
            "--client-authentication",
            default=SmtpSettings.ClientAuthentication.POST,
            choices=SmtpSettings.ClientAuthentication.values,
            help="how the client secret is sent to the token server",
        )
        parser.add_argument("--secret-ends", default="", metavar="YYYY-MM-DD", help="when the client secret expires")
        secret = parser.add_mutually_exclusive_group()
        secret.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
        secret.add_argument("--client-secret-stdin", action="store_true", help="read the client secret from standard input")
        parser.add_argument("--sender-address", required=True)
        parser.add_argument("--sender-name", default="")
        parser.add_argument(
            "--from-domains",
            default="",
            help="other sender domains allowed, separated by commas; *.acme.example for all domains below it, * for any",
        )
        parser.add_argument(
            "--ca-file",
            type=Path,
            help="PEM file with the CA that signed the server's certificate (or the token server's)",
        )
        parser.add_argument("--connections", default="4")
        parser.add_argument("--mails-per-minute", default="0", help="0 for no limit")
        parser.add_argument(
            "--recipients-per-transaction", default="100", help="1 to 1000; more recipients take several transactions"
        )
        parser.add_argument(
            "--held", choices=Choice.values, help="what to do with held emails; without it they stay held, and the portal asks"
        )
        parser.add_argument("--ehlo-name", default="", help="the name that the portal gives in EHLO; default: its machine's name")

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
        self.stdout.write(f"{stage.name} sends through {settings}. This applies to all apps from the next email on.")
        answer_for_command(self, Scope(stage=stage), options["held"])


def _from_stdin() -> str:
    """Read the secret from standard input.

    As an argument, every user of the machine could see it.
    """
    try:
        secret = sys.stdin.readline().rstrip("\r\n")
        secret.encode()
    except UnicodeError as error:  # its text isn't shown, because it holds the secret
        raise CommandError("The secret on standard input isn't UTF-8.") from error
    return secret


def _read(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The file {file} can't be read: {error}") from error
