"""manage.py create_credential: create what an app signs in with at the gateway.

The password is shown only once.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from django.core.management.base import CommandParser

from organization.cli import PortalCommand, app_by_key, stage_by_key
from organization.credentials import create_credential


class Command(PortalCommand):
    help = "Create a credential with which an app sends in a stage. The password is shown once and stored nowhere."

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_app(parser)
        self.add_stage(parser)
        parser.add_argument("--name", default="Default", help="where it is used, such as “web server”")
        parser.add_argument(
            "--ends", type=date.fromisoformat, metavar="YYYY-MM-DD", help="the last day on which it is valid, UTC"
        )
        parser.add_argument("--networks", default="", help="from where apps can sign in, such as 10.0.0.0/8,192.0.2.7")
        self.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        app, stage = app_by_key(options["app"]), stage_by_key(options["stage"])
        new = create_credential(app, stage, self.operator, options["name"], ends=options["ends"], networks=options["networks"])
        if options["json"]:
            self.write_json({"username": new.credential.username, "password": new.password})
            return
        self.stdout.write(f"Username: {new.credential.username}")
        self.stdout.write(f"Password: {new.password}")
        self.stdout.write("The password is not shown again. If you lose it, create another credential.")
