"""manage.py seed_demo: create the demo organization, or with --minimal what measurements start with."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from organization.cli import PortalCommand
from organization.credentials import NewCredential
from organization.models import Member
from portal.demo import organization
from portal.demo.week import seed_week


class Command(PortalCommand):
    help = "Create the demo organization (only with DEBUG), or with --minimal the stages and the app crm."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--minimal", action="store_true", help="stages development, qa, production and the app crm, nothing else"
        )
        parser.add_argument("--with-emails", action="store_true", help="also a week of emails, if the demo is new")
        parser.add_argument("--smtp-port", type=int, default=2526, help="where the demo's catch-all SMTP server listens")
        parser.add_argument("--url", default="http://127.0.0.1:8000/", help="the portal's URL, which is printed")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["minimal"]:
            organization.seed_minimal(self.operator)
            return
        if not settings.DEBUG:
            raise CommandError("The demo has published passwords, so it is made only with DEBUG=true.")
        with transaction.atomic():
            is_new = not Member.objects.exists()
            credential = organization.seed_demo(self.operator, options["smtp_port"])
            if options["with_emails"] and is_new:
                seed_week(self.operator)
        self._say_how_to_start(credential, options["url"], options["smtp_port"])

    def _say_how_to_start(self, new: NewCredential, url: str, smtp_port: int) -> None:
        gateway = f"127.0.0.1:{settings.GATEWAY_PORT}"
        username, password = new.credential.username, new.password
        mail = r"From: crm@acme.example\nTo: customer@example.com\nSubject: Hello\n\nHi!\n"
        self.stdout.write(f"\n  Portal   {url}\n")
        for sign_in in organization.SIGN_INS:
            self.stdout.write(f"           {sign_in.email:26} {organization.PASSWORD}   {sign_in.role}")
        self.stdout.write("\n  SMTP server for QA, which you set up in the portal; it keeps all emails in var/demo-inbox:")
        self.stdout.write(f"           127.0.0.1, SMTP port {smtp_port}, Security None, Authentication None")
        self.stdout.write("\n  Send an email as the app crm in QA, to a real customer, with curl or swaks:\n")
        self.stdout.write(
            f"printf '{mail}' | curl --url smtp://{gateway} --user {username}:{password} "
            "--mail-from crm@acme.example --mail-rcpt customer@example.com --upload-file -\n"
        )
        self.stdout.write(
            f"swaks --server {gateway} --auth-user {username} --auth-password {password} "
            "--from crm@acme.example --to customer@example.com --header 'Subject: Hello'\n"
        )
        self.stdout.write(f"  Then look at {url}monitor/email-log/qa/   (Ctrl-C stops everything)\n\n")
