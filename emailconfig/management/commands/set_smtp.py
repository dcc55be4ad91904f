"""manage.py set_smtp: replace a stage's SMTP settings. What is left out gets its default."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from emailconfig.forms import SmtpSettingsForm
from emailconfig.models import SmtpSettings
from emailconfig.services import save_smtp_settings, settings_of
from organization.cli import one_clear_line, operator, stage_by_key


class Command(BaseCommand):
    help = "Replace the SMTP settings of a stage. The stored password is kept only if nothing it belongs to changes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("stage", help="the stage's key, such as qa")
        parser.add_argument("--server", required=True)
        parser.add_argument("--port", default="587")
        parser.add_argument("--security", default="starttls", choices=SmtpSettings.Security.values)
        parser.add_argument("--authentication", default="none", choices=SmtpSettings.Authentication.values)
        parser.add_argument("--username", default="")
        parser.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
        parser.add_argument("--sender-address", required=True)
        parser.add_argument("--sender-name", default="")
        parser.add_argument("--from-domains", default="", help="other sender domains allowed, separated by commas; * for any")
        parser.add_argument("--ca-file", type=Path, help="PEM file with the CA that signed the server's certificate")
        parser.add_argument("--connections", default="4")
        parser.add_argument("--mails-per-minute", default="0", help="0 for no limit")

    def handle(self, *args: Any, **options: Any) -> None:
        stage = stage_by_key(options["stage"])
        settings = settings_of(stage) or SmtpSettings(stage=stage)
        names = ("server", "port", "security", "authentication", "username", "sender_address", "sender_name")
        data = {name: options[name] for name in (*names, "from_domains", "connections", "mails_per_minute")}
        data |= {
            "ca_certificate": _read(options["ca_file"]),
            "password": sys.stdin.readline().rstrip("\r\n") if options["password_stdin"] else "",
            "version": settings.version,
        }
        form = SmtpSettingsForm(data, instance=settings)
        with one_clear_line():
            if not form.is_valid():
                raise ValidationError(form.errors.as_data())
            save_smtp_settings(form.instance, operator("set_smtp"))
        self.stdout.write(f"{stage.name} sends through {settings}. It applies to all apps from the next mail on.")


def _read(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The file {file} can't be read: {error}") from error
